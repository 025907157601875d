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
    losses, displaced = np.asarray(records.loss), np.asarray(records.displaced)
    k = records.predicted.shape[1]
    predicted = records.loss_central + threshold / 2 * np.sum(records.predicted, axis=1)
    variance = np.maximum(records.predicted, 0)
    largest = np.max(variance, axis=1, keepdims=True)

    def along(values, text, unit=()):
        return ("step", "direction")[: values.ndim], values, {"long_name": text} | dict(unit)

    smooth = _Window(len(losses), window)
    variables = {
        "loss": along(losses, "loss of the optimizer", potential),
        "loss_flow": along(records.loss_flow, "loss of the gradient flow", potential),
        "loss_central": along(records.loss_central, "loss of the central flow", potential),
        "predicted_loss": along(predicted, "mean loss, predicted: of the central flow with its oscillation", potential),
        "mean_loss": along(smooth(losses), "loss of the optimizer, mean over the window", potential),
        "mean_predicted_loss": along(smooth(predicted), "predicted mean loss, mean over the window", potential),
        "sharpness": along(records.sharpness, "largest eigenvalue of M^-1 H along the optimizer", rate),
        "sharpness_central": along(records.curvatures[:, 0], "largest eigenvalue of M^-1 H, central flow", rate),
        "curvature": along(records.curvatures[:, :k], "leading eigenvalues of M^-1 H, central flow", rate),
        "distance_central": along(records.distance_central, "distance of the optimizer from the central flow"),
        "distance_flow": along(records.distance_flow, "distance of the optimizer from the gradient flow"),
        "predicted_variance": along(variance, "variance of the oscillation, predicted"),
        "displacement": along(displaced, "of the optimizer from the central flow, along its oscillation"),
        "measured_variance": along(smooth(displaced**2), "squared displacement, mean over the window"),
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


class _Window:
    """Centred means over a window that shrinks at both ends."""

    def __init__(self, count: int, window: int):
        places, half = np.arange(count), window // 2
        reach = np.minimum(half, np.minimum(places, count - 1 - places))
        self._first, self._after = places - reach, places + reach + 1

    def __call__(self, values: np.ndarray) -> np.ndarray:
        # A run that ended in NaN has means until there.
        sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values.astype(float), axis=0)])
        counts = (self._after - self._first).reshape(-1, *[1] * (values.ndim - 1))
        return (sums[self._after] - sums[self._first]) / counts
