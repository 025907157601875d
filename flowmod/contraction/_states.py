"""Reports of concrete numbers at a state, or at each state of a trajectory: one point after the other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._tree import as_state, combine, dtype_of, floats, is_traced, size
from .._typing import State
from ..simulate import Ensemble, Trajectory


def at_each_state(fn: Callable[[Any, State, str], Any], y: State | Trajectory, t: Any, *others: Any) -> Any:
    """`fn(t, y, name)` at a state, or of each state of a trajectory with its arrays stacked.

    Args:
        fn: takes a time, a state, and how a message names them.
        y: a state, or a `Trajectory`.
        t: the time of a state.
        others: what else must not be traced.

    Raises:
        ValueError: if there is no state, or one without numbers, or something is traced.
    """
    if isinstance(y, Ensemble):
        raise ValueError("`y` must be a state or a Trajectory, got an Ensemble: take a member, `ensemble[0]`.")
    if is_traced(y, t, *others):
        raise ValueError("`y` is traced, and a report is of concrete numbers: call it outside of JAX transformations.")
    if not isinstance(y, Trajectory):
        y = as_state("y", y)
        if size(y) == 0:
            raise ValueError(f"`y` must hold at least one float array, got {y!r}.")
        return fn(jnp.asarray(t, dtype=dtype_of(y)), y, f"at t = {float(t):.6g}")
    if len(y) == 0:
        raise ValueError("`y` must be a trajectory with at least one state, got one of none.")
    found = []
    for k, time in enumerate(y.ts):
        state = combine(jax.tree.map(lambda leaf, k=k: np.asarray(leaf)[k], floats(y.ys)), y.ys)
        name = f"at t = {float(time):.6g} (state {k} of the run)"
        found.append(fn(jnp.asarray(time, dtype=dtype_of(state)), state, name))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)
