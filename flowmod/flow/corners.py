"""A box of states, by its two corners."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._tree import as_state, floats
from .._typing import State


class Corners(NamedTuple):
    """The corners of a box, checked.

    Attributes:
        lower: a tree like the state.
        upper: the same.
        low: the numbers of the lower corner in `ravel_pytree` order, (n,), in double precision.
        high: those of the upper one.
    """

    lower: State
    upper: State
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]


def corners_of(box: Any) -> Corners:
    """The corners of `(lower, upper)`, two trees like a state, which may be written in whole numbers.

    Raises:
        ValueError: if they are no pair, differ in structure or shapes, or are infinite or out of order anywhere.
    """
    if not (isinstance(box, tuple | list) and len(box) == 2):
        raise ValueError(f"`box` must be a pair (lower, upper) of trees like the state, got {box!r}.")
    lower, upper = (as_state("box", jax.tree.map(_as_float, corner)) for corner in box)
    low, high = (_flat(corner) for corner in (lower, upper))
    if jax.tree.structure(lower) != jax.tree.structure(upper) or low.shape != high.shape or not low.size:
        raise ValueError(f"`box` must be two trees of one structure and shape, (lower, upper), got {box!r}.")
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise ValueError(f"`box` must have finite corners, lower < upper everywhere, got {low} and {high}.")
    return Corners(lower, upper, low, high)


def _as_float(leaf: Any) -> Any:
    if isinstance(leaf, bool) or not isinstance(leaf, int | np.generic | np.ndarray | jax.Array):
        return leaf
    return jnp.asarray(leaf, jnp.result_type(float)) if np.asarray(leaf).dtype.kind in "iu" else leaf


def _flat(tree: State) -> Float[np.ndarray, " n"]:
    leaves = jax.tree.leaves(floats(tree))
    return np.concatenate([np.empty(0), *(np.ravel(leaf).astype(np.float64) for leaf in leaves)])
