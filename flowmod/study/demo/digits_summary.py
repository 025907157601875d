"""The numbers of what learns the digits as dicts for JSON; what has no finite value is `None`."""

import math
from typing import Any

import numpy as np

from .network import Network
from .optimizers import Optimizers
from .regression import Regression, Twins
from .training import Training


def summarise_network(network: Network) -> dict[str, Any]:
    """The network's trainings by metric, and what is known of the layerwise one alone."""
    trainings = {name.lower(): _training(training) for name, training in network.trainings.items()}
    trainings["layerwise"]["rates"] = _numbers(network.rates)
    trainings["layerwise"]["velocity_norms"] = {name: _numbers(values) for name, values in network.speeds.items()}
    trainings["layerwise"]["conditions"] = {name: _numbers(values) for name, values in network.conditions.items()}
    images = len(network.layerwise.flow.potential.targets)
    return {"hidden": network.config.hidden, "mass": network.config.mass, "images": images} | trainings


def _training(training: Training) -> dict[str, Any]:
    run = training.trajectory
    return {
        "t1": float(run.end_time),
        "times": _numbers(run.ts),
        "seconds": _numbers(training.seconds),
        "loss": _numbers(run.potential),
        "test_accuracy": _numbers(run.observed["test_accuracy"]),
        "steps": {name: int(count) for name, count in run.stats.items()},
        "worst_imbalance": float(np.abs(np.asarray(run.ledger)).max()),
        "largest_inner_residual": float(np.max(np.asarray(run.inner_residual))),
        "probed": _numbers(training.probed),
        "leading_eigenvalues": _numbers(training.eigenvalues),
        "step_limits": _numbers(training.limits),
    }


def summarise_regression(regression: Regression) -> dict[str, Any]:
    """The regressions, by rising weight decay."""
    return {
        "mass": regression.config.mass,
        "images": regression.config.images,
        "runs": [_regression(regression.config.mass, run) for run in regression.runs],
    }


def _regression(mass: float, twins: Twins) -> dict[str, Any]:
    relative = twins.distances / twins.distances[:, :1]
    return {
        "decay": twins.decay,
        "decay_over_mass": twins.decay / mass,
        "times": _numbers(twins.trajectory.ts),
        "loss": _numbers(twins.trajectory.potential),
        "test_accuracy": _numbers(twins.trajectory.observed["test_accuracy"]),
        "worst_imbalance": float(np.abs(np.asarray(twins.trajectory.ledger)).max()),
        "rates": _numbers(twins.rates),
        "residuals": _numbers(twins.residuals),
        "envelope": _numbers(twins.envelope),
        "twins": [_numbers(distances) for distances in relative],
    }


def summarise_optimizers(optimizers: Optimizers) -> dict[str, Any]:
    """By optimizer its flow, its limits and its fates."""
    found = {}
    for flow, comparison in optimizers.comparisons.items():
        for name in comparison["optimizer"].values:
            run = comparison.sel(optimizer=name)
            found[str(name)] = {
                "flow": flow,
                "t1": float(comparison.attrs["t1"]),
                "order": _number(run["order"]),
                "limit_at_start": _number(run["limit_at_start"]),
                "predicted_limit": _number(run["predicted_limit"]),
                "step_sizes": _numbers(run["step_size"]),
                "fates": [str(fate) for fate in run["fate"].values],
                "largest_distances": _numbers(run["distance"].max("time")),
                "errors": _numbers(run["error"]),
            }
    return {"images": optimizers.config.images, "runs": found}


def _numbers(values: Any) -> list[float | None]:
    return [_number(value) for value in np.asarray(values, dtype=float)]


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(float(value)) else None
