"""A run at the edge of stability as a labelled table."""

from typing import TYPE_CHECKING

import numpy as np

from ._march import Record
from .central_flow import CentralFlow

if TYPE_CHECKING:
    import xarray as xr

_OSCILLATES = 1e-9
"""Of the largest variance: a direction with less is not critical."""


def table(records: Record, averaged: CentralFlow, window: int) -> "xr.Dataset":
    """The dataset that `edge_of_stability` returns, with units and descriptions."""
    import xarray as xr

    units = dict(averaged.units)
    potential = {"units": units["potential"]} if "potential" in units else {}
    time = {"units": units["time"]} if "time" in units else {}
    rate = {"units": f"1/{units['time']}"} if "time" in units else {}
    threshold = averaged.threshold
    losses, displaced = (np.asarray(each, float) for each in (records.loss, records.displaced))
    k = records.predicted.shape[1]
    predicted = records.loss_central + threshold / 2 * np.sum(records.predicted, axis=1)
    variance = np.maximum(records.predicted, 0)
    largest = np.max(variance, axis=1, keepdims=True)

    def along(values, text, unit=()):
        return ("step", "direction")[: values.ndim], values, {"long_name": text} | dict(unit)

    # Squares and sums of a run that diverges leave the range of numbers: its means are infinite or NaN.
    with np.errstate(over="ignore", invalid="ignore"):
        mean, mean_predicted, measured = (_smooth(each, window) for each in (losses, predicted, displaced**2))
    variables = {
        "loss": along(losses, "loss of the optimizer", potential),
        "loss_flow": along(records.loss_flow, "loss of the gradient flow", potential),
        "loss_central": along(records.loss_central, "loss of the central flow", potential),
        "predicted_loss": along(predicted, "mean loss, predicted: of the central flow with its oscillation", potential),
        "mean_loss": along(mean, "loss of the optimizer, mean over the window", potential),
        "mean_predicted_loss": along(mean_predicted, "predicted mean loss, mean over the window", potential),
        "sharpness": along(records.sharpness, "largest eigenvalue of M^-1 H along the optimizer", rate),
        "sharpness_central": along(records.curvatures[:, 0], "largest eigenvalue of M^-1 H, central flow", rate),
        "curvature": along(records.curvatures[:, :k], "leading eigenvalues of M^-1 H, central flow", rate),
        "distance_central": along(records.distance_central, "distance of the optimizer from the central flow"),
        "distance_flow": along(records.distance_flow, "distance of the optimizer from the gradient flow"),
        "predicted_variance": along(variance, "variance of the oscillation, predicted"),
        "displacement": along(displaced, "of the optimizer from the central flow, along its oscillation"),
        "measured_variance": along(measured, "squared displacement, mean over the window"),
        "critical": along(np.sum((variance > _OSCILLATES * largest) & (variance > 0), axis=1), "critical directions"),
        "products": along(records.products, "products with the Hessian, central flow"),
    }
    steps = np.arange(len(losses))
    coords = {
        "step": ("step", steps, {"long_name": "step"}),
        "time": ("step", steps * averaged.step_size, {"long_name": "time"} | time),
        "direction": ("direction", np.arange(k), {"long_name": "direction, from the largest"}),
    }
    attributes = {
        "step_size": averaged.step_size,
        "method": averaged.method,
        "momentum": averaged.momentum,
        "threshold": threshold,
        "window": window,
        "substeps": round(1 / averaged.relaxation),
    }
    return xr.Dataset(variables, coords=coords, attrs=attributes)


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred means over a window that shrinks at both ends, each of its own values only: none spoils the others."""
    last = len(values) - 1
    reach = np.minimum(window // 2, np.minimum(np.arange(last + 1), last - np.arange(last + 1)))
    return np.stack([np.mean(values[at - each : at + each + 1], axis=0) for at, each in enumerate(reach)])
