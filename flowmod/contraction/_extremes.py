"""The ends of a pencil's spectrum at a state, or at many, where each search begins with what the last one found."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._tree import combine, dtype_of, is_traced, ravel, size
from .._typing import Args, State
from ..flow import AbstractFlow
from ..linalg import Eigenpairs, extreme_eigenpairs, random_start
from ..metric import AbstractMetric
from ._pencil import pencil_products

_RANDOM = 0.1
"""The length of what is random in a warm start, beside one."""


class Wanted(NamedTuple):
    """What is looked for: how many eigenvalues of each end, and to which residual (`None`: as precision allows)."""

    largest: int = 1
    smallest: int = 0
    rtol: Float[Array, ""] | None = None


class Extremes(NamedTuple):
    """`flowmod.linalg.Eigenpairs` without their vectors, with a leading axis of length T along a trajectory."""

    values: Float[Array, "*T k"]
    residuals: Float[Array, "*T k"]
    scale: Float[Array, "*T"]
    products: Int[Array, "*T"]
    converged: Bool[Array, "*T"]


class Subject(NamedTuple):
    """Whose pencil it is, in which metric; `rest` are the leaves of the state that do not move."""

    flow: AbstractFlow
    args: Args
    metric: AbstractMetric | None
    rest: Any


def extremes_at(t: Any, y: State, start: Float[Array, " n"] | None, subject: Subject, wanted: Wanted) -> Eigenpairs:
    """Eigenpairs of the pencil at a state, from a start or from random numbers."""
    flow, args, metric, rest = subject
    y = y if rest is None else combine(y, rest)
    pencil = pencil_products(flow, t, y, args, metric)
    if start is None:
        start = random_start(size(y), ravel(y).dtype)
    most = 100 * (2 + wanted.largest + wanted.smallest)
    return extreme_eigenpairs(*pencil, start, **wanted._asdict(), precision=dtype_of(y), most=most)


def extremes_along(ts: Any, ys: State, subject: Subject, wanted: Wanted) -> Extremes:
    """The ends of the spectrum at each time of a trajectory."""
    first = jax.tree.map(lambda leaf: leaf[:1].sum(0), ys)  # a state's shapes, also where there is none
    start = random_start(size(first), ravel(first).dtype)
    if is_traced(ts, ys, subject, wanted) or len(ts) == 0:
        return jax.lax.scan(lambda start, point: _next(*point, start, subject, wanted), start, (ts, ys))[1]
    found = []
    for k in range(len(ts)):
        t, y = jax.tree.map(lambda leaf, k=k: np.asarray(leaf)[k], (ts, ys))
        start, extremes = _next_compiled(t, y, start, subject, wanted)
        found.append(extremes)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def _next(t, y, start, subject, wanted):
    pairs = extremes_at(t, y, start, subject, wanted)
    # All of the eigenvectors in one vector, because a Krylov space has one start: it has each of them again in as many
    # steps as they are. Random numbers beside them, because an eigenvector that is still one has nothing else in its
    # Krylov space, and what has overtaken it since would be looked for in the few products of the second start only.
    random = random_start(start.size, start.dtype)
    ahead = jnp.sum(pairs.vectors, axis=0)
    ahead = ahead / jnp.linalg.norm(ahead) + _RANDOM * random / jnp.linalg.norm(random)
    # Where there was no metric there are no vectors.
    ahead = jnp.where(jnp.all(jnp.isfinite(ahead)), ahead, random)
    return ahead, Extremes(pairs.values, *pairs[2:])


_next_compiled = eqx.filter_jit(_next)
