"""How many runs go side by side: as many as keep the processor busy, and none that wait long for others."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun
from jax.lax import linalg

_NUMBERS = 2**12
"""Numbers of all states that advance together: more do not stay in the cache, fewer leave the vector units idle."""

_WAITING = 1.25
"""All updates that a chunk makes, with those of lanes that only wait for the longest, over the ones that are wanted."""

# Primitives of lineax do not show what they are made of: a solve may be a factorisation.
_FACTORISATIONS = {value.name for name, value in vars(linalg).items() if name.endswith("_p")} | {
    "linear_solve",
    "vprim",
}


def lanes_for(updates: np.ndarray, size: int) -> int:
    """How many runs to put side by side.

    They are taken in their order, so many at a time, and all of a chunk wait for the one with the most updates.

    Args:
        updates: how many updates each run has, (R,).
        size: numbers in a state.

    Returns:
        The most, of halves of what fits in the cache, with which no more than a quarter of the work is waiting.
    """
    most = min(max(_NUMBERS // size, 1), len(updates))
    while most > 1:
        # As even as may be: the last chunk is filled up with runs that are thrown away.
        lanes = -(-len(updates) // -(-len(updates) // most))
        longest = np.maximum.reduceat(updates, np.arange(0, len(updates), lanes))
        if lanes * longest.sum() <= _WAITING * updates.sum():
            return lanes
        most //= 2
    return 1


def traced(fn: Callable, *examples: Any) -> tuple[Callable, bool]:
    """The same function of trees like the examples, traced once, and whether it factorises a matrix.

    Factorisations that are batched can wait for each other for ever on a machine with two cores.
    """
    closed, shape = jax.make_jaxpr(fn, return_shape=True)(*examples)
    structure = jax.tree.structure(shape)
    program = jaxpr_as_fun(closed)
    return lambda *trees: jax.tree.unflatten(structure, program(*jax.tree.leaves(trees))), _factorises(closed)


def _factorises(tree: Any) -> bool:
    """Whether a matrix is factorised anywhere in a jaxpr, or in those that its operations hold."""
    jaxprs = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, Jaxpr | ClosedJaxpr)]
    for jaxpr in jaxprs:
        eqns = (jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr).eqns
        if any(eqn.primitive.name in _FACTORISATIONS or _factorises(eqn.params) for eqn in eqns):
            return True
    return False


def side_by_side(fn: Callable, lanes: int) -> Callable:
    """`fn` of trees whose leaves have a leading axis of so many lanes; a single one is not batched."""
    if lanes > 1:
        return jax.vmap(fn)
    return lambda *trees: jax.tree.map(lambda leaf: leaf[None], fn(*jax.tree.map(lambda leaf: leaf[0], trees)))


def chosen(which: Any, tree: Any, other: Any) -> Any:
    """Lane by lane the one tree or the other."""
    return jax.tree.map(lambda a, b: jnp.where(which.reshape(-1, *(1,) * (a.ndim - 1)), a, b), tree, other)
