"""A function of time and state at every time of a trajectory, in one call or in one for each."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .._tree import is_traced, size
from .._typing import State
from ..simulate import evaluate_along

_CHEAP = 20
"""Numbers of the state up to which all points of a trajectory go into one padded call.

A rate of more costs as much as a call of its own, and padding five points to a chunk would cost twelve times that.
"""


def at_each_time(fn: Callable, compiled: Callable, ts: Any, ys: State, operands: Any) -> Any:
    """`fn(t, y, operands)` at every time; `compiled` is the same function as a program of its own."""
    if is_traced(ts, ys, operands) or len(ts) == 0 or size(ys) <= _CHEAP * len(ts):
        return evaluate_along(fn, ts, ys, operands)
    points = (jax.tree.map(lambda leaf, k=k: np.asarray(leaf)[k], (ts, ys)) for k in range(len(ts)))
    found = [compiled(t, y, operands) for t, y in points]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)
