"""The ends of a pencil's spectrum at a state, or at many, where each search begins with what the last one found."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float, Int

from .._tree import combine, dtype_of, ravel, size
from .._typing import Args, State
from ..flow import AbstractFlow
from ..linalg import Eigenpairs, extreme_eigenpairs, random_start, warm_start
from ..metric import AbstractMetric
from ..simulate import carried_along
from ._pencil import pencil_products


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
    return carried_along(_next, _next_compiled, start, ts, ys, (subject, wanted))


def _next(start, t, y, operands):
    pairs = extremes_at(t, y, start, *operands)
    return warm_start(pairs.vectors), Extremes(pairs.values, *pairs[2:])


_next_compiled = eqx.filter_jit(_next)
