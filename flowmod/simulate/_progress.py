"""Progress of a run: a line on the terminal between legs, never inside the compiled solve."""

import time
from typing import Any

_SECONDS_PER_LEG = 0.5


class Progress:
    """Chooses how many steps the next leg takes, so that the line moves twice a second.

    A leg costs some hundred microseconds of its own and the line some milliseconds, below 2 % of half a second.
    """

    def __init__(self, shown: bool, t0: float, t1: float, capacity: int):
        self._capacity = capacity
        self._span = (t0, t1)
        self._budget = min(32, capacity) if shown else capacity
        self._bar: Any = None
        self._last = time.perf_counter()
        if shown:
            from rich.progress import Progress as Bar

            # Its own thread would redraw it ten times a second, which costs as much as a small solve.
            self._bar = Bar(transient=True, auto_refresh=False)
            self._task = self._bar.add_task("simulate", total=1.0)
            self._bar.start()

    @property
    def budget(self) -> int:
        return self._budget

    def leg_done(self, t: float, legs: int) -> None:
        if self._bar is None:
            return
        t0, t1 = self._span
        self._bar.update(self._task, completed=(t - t0) / (t1 - t0), refresh=True)
        now = time.perf_counter()
        if legs > 2:  # the first leg and the first resumed one compile
            factor = _SECONDS_PER_LEG / max(now - self._last, 1e-6)
            self._budget = int(min(max(self._budget * min(factor, 8.0), 8), self._capacity))
        self._last = now

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
