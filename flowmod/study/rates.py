"""What a series of contraction rates along a trajectory amounts to."""

from typing import Any

import numpy as np


def summarise_rates(times: np.ndarray, rates: np.ndarray) -> dict[str, Any]:
    """The least and the most of the rates, in 1/time, and where they are negative; `None` where there is no rate.

    A rate is NaN where the metric is not positive definite. `missing` counts those times, and no interval covers them.
    """
    known = np.isfinite(rates)
    return {
        "least": float(rates[known].min()) if known.any() else None,
        "most": float(rates[known].max()) if known.any() else None,
        "negative_between": intervals_below_zero(np.asarray(times)[known], rates[known]),
        "missing": int(np.sum(~known)),
    }


def intervals_below_zero(times: np.ndarray, values: np.ndarray) -> list[list[float]]:
    """The intervals in which a piecewise linear function is negative, as `[from, to]`."""
    if not len(times):
        return []
    negative = values < 0
    before = np.flatnonzero(negative[:-1] != negative[1:])
    slopes = np.diff(values)[before] / np.diff(times)[before]
    edges = [float(edge) for edge in times[before] - values[before] / slopes]
    edges = [float(times[0])] * bool(negative[0]) + edges + [float(times[-1])] * bool(negative[-1])
    return [list(pair) for pair in zip(edges[::2], edges[1::2], strict=True)]
