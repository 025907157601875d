"""The order at which an optimizer approaches the flow when its step size falls, and how far that holds."""

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

_APART = 2.0
"""A local slope is taken over so large a ratio of step sizes: records lie up to a sixtieth of the time before its end,
which would be much of a smaller difference."""

_BENT = 0.2
"""So much from the order may a local slope be in the asymptotic regime."""


class Scale(NamedTuple):
    """What an error is measured by.

    Attributes:
        path: how far the flow moves until the end of the comparison, (starts,).
        floor: what the flow's own error may be, (starts,).
    """

    path: np.ndarray
    floor: np.ndarray

    @classmethod
    def of(cls, times: Any, states: Any, t1: float, rtol: float) -> "Scale":
        """From the flow's runs: their times, (U,), and the float leaves of the states, (starts, U, ...)."""
        last = int(np.searchsorted(np.asarray(times), t1, side="right"))
        leaves = [np.asarray(leaf)[:, :last] for leaf in jax.tree.leaves(states)]
        rows = [leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves]
        size = sum(np.sum(row**2, axis=-1) for row in rows)
        moved = sum(np.sum((row - row[:, :1]) ** 2, axis=-1) for row in rows)
        return cls(np.sqrt(np.max(moved, axis=1)), _MARGIN * rtol * np.sqrt(np.max(size, axis=1)))

    @property
    def at_rest(self) -> np.ndarray:
        """Where the flow moves no further than it may be wrong, (starts,)."""
        return self.path <= self.floor


def error(distance: np.ndarray, times: np.ndarray, t1: float) -> np.ndarray:
    """The largest distance up to `t1`, over the last axis; NaN if a run was not finite, or had no update, by then."""
    within = times <= t1 * (1 + 1e-9)
    largest = np.max(np.where(within, distance, 0.0), axis=-1)
    return np.where(within[..., 1], largest, np.nan)


class Order(NamedTuple):
    """The exponent of the error in the step size, and the largest step size of its regime; NaN if there is none."""

    order: float
    until: float


def fitted_order(errors: np.ndarray, step_sizes: np.ndarray, limit: float, path: float, floor: float) -> Order:
    """The slope of the error over the step size, both in logarithms, by least squares where it is a power law.

    Args:
        errors: the largest distance for each step size, (S,); NaN for a run that is not to count.
        step_sizes: the step sizes, (S,).
        limit: the predicted step limit, or NaN.
        path: how far the flow moves.
        floor: what the flow's own error may be.

    Returns:
        The order and its regime; NaN if fewer than three different step sizes are in the range of the fit.
    """
    step_sizes, rows = np.unique(step_sizes, return_index=True)
    usable = errors[rows] > floor
    fit = usable & (errors[rows] < _LARGEST * path) & ~(step_sizes >= _STABLE * limit)
    kept = np.flatnonzero(fit)[:_MOST]
    if len(kept) < _FEWEST:
        return Order(float("nan"), float("nan"))
    x, y = np.log(step_sizes), np.log(np.where(usable, errors[rows], np.nan))
    order = float(np.polyfit(x[kept], y[kept], 1)[0])
    end = kept[-1]
    for row in range(kept[-1] + 1, len(x)):
        base = max(kept[0], np.searchsorted(x, x[row] - np.log(_APART), side="right") - 1)
        if not abs((y[row] - y[base]) / (x[row] - x[base]) - order) <= _BENT:
            break
        end = row
    return Order(order, float(step_sizes[end]))
