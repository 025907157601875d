"""One clock for a flow and its optimizers: update `n` of step size `h` belongs to the time `n h`, exactly."""

import math
from typing import NamedTuple

import numpy as np

_LEAST_UPDATES = 60
"""A fate needs a run: with fewer updates a step size just above the limit of stability has no time to show it."""

_MOST_UPDATES = 10**9
_LIMITS = 5
"""Times at which the flow is saved for the limits of its step size."""


class Schedule(NamedTuple):
    """Which updates of each run are recorded, when that is, and where the flow's states of these times are.

    Attributes:
        updates: numbers of updates, (S, 61), from 0 to the last.
        times: `updates` times the step size, (S, 61).
        saved: all times at which the flow is needed, (U,), ascending, in the state's precision.
        rows: where `times` are among `saved`, (S, 61).
        limit_rows: where the times are at which step limits are predicted, evenly spread over `[0, t1]`.
    """

    updates: np.ndarray
    times: np.ndarray
    saved: np.ndarray
    rows: np.ndarray
    limit_rows: np.ndarray


def schedule(step_sizes: np.ndarray, t1: float, dtype: np.dtype) -> Schedule:
    """At least 60 updates of each step size, and as many as lead to `t1`; 61 of the iterates are recorded.

    Raises:
        ValueError: if a step size is so small that its updates could not be waited for.
    """
    needed = t1 / float(step_sizes.min())
    if needed > _MOST_UPDATES:
        raise ValueError(
            f"`step_sizes` must be larger: {step_sizes.min():g} takes {needed:.3g} updates until t1 = {t1:g}, and "
            f"{_MOST_UPDATES:g} are the most."
        )
    # A last update for what rounding left of t1 / h would be one too many.
    last = [max(_LEAST_UPDATES, math.ceil(t1 / h * (1 - 1e-12))) for h in step_sizes]
    updates = np.stack([np.linspace(0, count, _LEAST_UPDATES + 1).round().astype(np.int32) for count in last])
    times = updates * step_sizes[:, None]
    probed = np.linspace(0, t1, _LIMITS)
    saved, positions = np.unique(np.concatenate([times.ravel(), probed]).astype(dtype), return_inverse=True)
    rows = positions[: times.size].reshape(times.shape).astype(np.int32)
    return Schedule(updates, times, saved, rows, positions[times.size :])
