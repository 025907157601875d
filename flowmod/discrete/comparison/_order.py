"""The order at which an optimizer approaches the flow when its step size falls."""

from typing import Any, NamedTuple

import jax
import numpy as np

_MARGIN = 10.0
"""The error of the flow's own run may be so many times its tolerance."""

_LARGEST = 0.05
"""Of the flow's path: at larger errors the next power of the step size bends the line."""

_STABLE = 0.25
"""Of the predicted step limit: beyond, fast modes that are damped at small step sizes are not."""

_FEWEST, _MOST = 3, 5
"""Step sizes in a fit: the smallest of those in the range, where the power law is purest."""


class Scale(NamedTuple):
    """What an error is measured by.

    Attributes:
        path: how far the flow moves until the end of the comparison.
        floor: what the flow's own error may be.
    """

    path: float
    floor: float

    @classmethod
    def of(cls, times: Any, states: Any, t1: float, rtol: float) -> "Scale":
        """From the flow's run: its times, (U,), and the float leaves of its states."""
        last = int(np.searchsorted(np.asarray(times), t1, side="right"))
        size = np.zeros(last)
        moved = np.zeros(last)
        for leaf in jax.tree.leaves(states):
            rows = np.asarray(leaf)[:last].reshape(last, -1)
            size += np.sum(rows**2, axis=1)
            moved += np.sum((rows - rows[0]) ** 2, axis=1)
        return cls(float(np.sqrt(moved.max())), _MARGIN * rtol * float(np.sqrt(size.max())))


def error(distance: np.ndarray, times: np.ndarray, t1: float) -> np.ndarray:
    """The largest distance up to `t1`, (S,) from (S, 61); NaN if a run was not finite, or had no update, by then."""
    within = times <= t1 * (1 + 1e-9)
    largest = np.max(np.where(within, distance, 0.0), axis=-1)
    return np.where(within[:, 1], largest, np.nan)


def fitted_order(errors: np.ndarray, step_sizes: np.ndarray, settled: np.ndarray, limit: float, scale: Scale) -> float:
    """The slope of the error over the step size, both in logarithms, by least squares where it is a power law.

    Args:
        errors: the largest distance for each step size, (S,).
        step_sizes: the step sizes, (S,).
        settled: whether the run converged, (S,).
        limit: the predicted step limit, or NaN.
        scale: what errors are measured by.

    Returns:
        The order; NaN if fewer than three different step sizes are in the range.
    """
    fit = settled & (errors > scale.floor) & (errors < _LARGEST * scale.path)
    if not np.isnan(limit):
        fit &= step_sizes < _STABLE * limit
    step_sizes, rows = np.unique(np.where(fit, step_sizes, np.inf), return_index=True)
    kept = np.isfinite(step_sizes).nonzero()[0][:_MOST]
    if len(kept) < _FEWEST:
        return float("nan")
    return float(np.polyfit(np.log(step_sizes[kept]), np.log(errors[rows[kept]]), 1)[0])
