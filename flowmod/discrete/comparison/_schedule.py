"""One clock for a flow and its optimizers: update `n` of step size `h` belongs to the time `n h`, exactly."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

RECORDS = 60
"""Iterates of each run that are recorded beside its start, evenly spread. A run has at least as many updates: with
fewer a step size just above the limit of stability has no time to show it."""

_MOST_UPDATES = 10**9
_PROBES = 5
"""Times at which the flow is saved for the limits of its step size."""

_STORED = 2**24
"""Numbers of the flow's states that are held at a time."""


class Schedule(NamedTuple):
    """Which updates of each run are recorded, and when that is.

    Attributes:
        step_sizes: the step sizes, (S,), ascending.
        updates: numbers of updates, (S, 61), from 0 to the last.
        times: `updates` times the step size, (S, 61).
        t1: the time up to which they are compared.
    """

    step_sizes: np.ndarray
    updates: np.ndarray
    times: np.ndarray
    t1: float

    def portions(self, starts: int, size: int, dtype: np.dtype) -> Iterator["Portion"]:
        """The step sizes in portions of one length, so that one program serves all, for states of `size` numbers.

        The flow has a state of its own for every record, and for each portion a run of its own. The last portion
        repeats the largest step size where it has none left.
        """
        total = len(self.step_sizes)
        most = max(1, _STORED // (starts * size * (RECORDS + 1)))
        length = -(-total // -(-total // most))
        for first in range(0, total, length):
            yield self._portion(
                np.minimum(np.arange(first, first + length), total - 1), min(length, total - first), dtype
            )

    def _portion(self, chosen: np.ndarray, count: int, dtype: np.dtype) -> "Portion":
        times = self.times[chosen]
        wanted = np.concatenate([times.ravel(), np.linspace(0, self.t1, _PROBES)]).astype(dtype)
        order = np.argsort(wanted, kind="stable")
        rows = np.argsort(order, kind="stable").astype(np.int32)
        return Portion(chosen, count, wanted[order], rows[: times.size].reshape(times.shape), rows[times.size :])


class Portion(NamedTuple):
    """Step sizes whose runs are compared with one run of the flow.

    Attributes:
        chosen: which step sizes of the schedule they are, (s,).
        count: how many of them are no repetition.
        saved: all times at which the flow is needed, (U,), ascending, in the state's precision.
        rows: where the records' times are among them, (s, 61).
        probes: where the times are at which step limits are predicted, evenly spread over `[0, t1]`.
    """

    chosen: np.ndarray
    count: int
    saved: np.ndarray
    rows: np.ndarray
    probes: np.ndarray


def schedule(step_sizes: np.ndarray, t1: float, least: int) -> Schedule:
    """As many updates of each step size as lead to `t1`, and at least so many.

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
    last = [max(least, math.ceil(t1 / h * (1 - 1e-12))) for h in step_sizes]
    updates = np.stack([np.linspace(0, count, RECORDS + 1).round().astype(np.int32) for count in last])
    return Schedule(step_sizes, updates, updates * step_sizes[:, None], t1)
