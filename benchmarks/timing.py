"""How things are timed here: interleaved, by medians, as a ratio or a difference of one run."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    shown: str
    wanted: str
    met: bool


def interleaved(*calls: Callable[[], object], repeats: int) -> list[float]:
    """The median seconds of each call; the calls take turns, so that a slow spell of the machine hits all alike."""
    for call in calls:
        call()
        call()
    seconds = np.empty((len(calls), repeats))
    for repeat in range(repeats):
        for index, call in enumerate(calls):
            started = time.perf_counter()
            call()
            seconds[index, repeat] = time.perf_counter() - started
    return [float(median) for median in np.median(seconds, axis=1)]


def ratio(what: str, ours: float, base: float, limit: float) -> Row:
    shown = f"{ours / base:.3f} x ({1e3 * ours:.3g} ms against {1e3 * base:.3g} ms)"
    return Row(what, shown, f"<= {limit} x", ours <= limit * base)


def excess(what: str, ours: float, base: float, limit: float) -> Row:
    shown = f"{1e6 * (ours - base):+.0f} us ({1e6 * ours:.0f} us against {1e6 * base:.0f} us)"
    return Row(what, shown, f"<= {1e6 * limit:.0f} us", ours - base <= limit)
