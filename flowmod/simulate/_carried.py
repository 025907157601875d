"""A search at each time of a trajectory that begins with what the one before has found."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .._tree import is_traced
from .._typing import State


def carried_along(step: Callable, compiled: Callable, carry: Any, ts: Any, ys: State, operands: Any) -> Any:
    """What `carry, found = step(carry, t, y, operands)` finds at each time, stacked.

    Args:
        step: the search at one time; inside a JAX transformation it is scanned.
        compiled: the same function as a program of its own, for concrete trajectories.
        carry: what the first search begins with.
        ts: the times, (T,).
        ys: the states, leaves with a leading axis of length T.
        operands: handed to `step`.
    """
    if is_traced(ts, ys, operands) or len(ts) == 0:
        return jax.lax.scan(lambda carry, point: step(carry, *point, operands), carry, (ts, ys))[1]
    found = []
    for k in range(len(ts)):
        t, y = jax.tree.map(lambda leaf, k=k: np.asarray(leaf)[k], (ts, ys))
        carry, one = compiled(carry, t, y, operands)
        found.append(one)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)
