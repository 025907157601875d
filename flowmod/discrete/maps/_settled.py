"""Many runs of a family of optimizers until they have settled, in one program: the last iterates, and the growth.

Beside each run goes a neighbour, a small distance away, which is put back to that distance after each step. By how
much the two part, on average over steps, is the growth factor of the distance: the leading Lyapunov multiplier.

Reference: G. Benettin, L. Galgani, A. Giorgilli, J.-M. Strelcyn, "Lyapunov characteristic exponents for smooth
dynamical systems and for Hamiltonian systems" (1980).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..._tree import combine, dot, dtype_of, floats, is_float_array, size
from ..._typing import State, Vector
from .._family import Family
from ..comparison._lanes import traced
from ..fates import TAIL, fates

_BATCH = 20_000
"""Numbers of all runs that advance together."""

_FAR = 1e6
"""Of the loss at the start."""


class Settled(NamedTuple):
    """What is kept of runs, by run.

    Attributes:
        loss: the losses of the last iterates, (R, T).
        signal: a fixed random linear function of them, (R, T).
        observed: what was observed of them, (R, T).
        growth: the factor per step by which neighbours part, in the second half of the run, (R,).
        best: where the run with the lowest loss ended.
    """

    loss: np.ndarray
    signal: np.ndarray
    observed: np.ndarray
    growth: np.ndarray
    best: State

    def fates(self, start: float) -> tuple[np.ndarray, np.ndarray]:
        """Fates and periods. For the flow's drop, which is not run, stands that of the best run.

        A start may be so near a minimum that stable cycles lie far above it: only what is far beyond has diverged.
        """
        end = self.loss[:, -1]
        drop = start - float(np.min(end[np.isfinite(end)], initial=start))
        tails = self.loss[:, -TAIL:], self.signal[:, -TAIL:]
        ceiling = np.array(start + _FAR * (abs(start) + drop))
        return fates(np.array(start), end, np.array(drop), *tails, ceiling, self.growth)


class _Plan(NamedTuple):
    """The runs that are wanted.

    Attributes:
        family: the optimizers.
        y0: their start.
        observe: `observe(y, args)`, a scalar.
        others: the leaves of an optimizer's state that are no arrays.
        updates: the number of updates.
        tail: of how many iterates something is kept.
        in_turn: whether one run follows the other, because factorisations must not be batched.
    """

    family: Family
    y0: State
    observe: Callable
    others: Any
    updates: int
    tail: int
    in_turn: bool

    def each(self, fn: Callable) -> Callable:
        """`fn` along the leading axes of its arguments."""
        return (lambda *args: jax.lax.map(lambda one: fn(*one), args)) if self.in_turn else jax.vmap(fn)


class _Runs(NamedTuple):
    """The runs of a chunk on their way.

    Attributes:
        pairs: the float leaves of the iterates and the arrays of the optimizers' states, of each run and of its
            neighbour, leading axes (B, 2).
        loss: the losses one update ago, (B,).
        growth: sum and number of the logarithms of growth factors, (B, 2), of the second half where there are any.
    """

    pairs: PyTree
    loss: Float[Array, " B"]
    growth: Float[Array, "B 2"]


def settle(
    family: Family, y0: State, numbers: tuple[np.ndarray, ...], updates: int, tail: int, observe: Callable
) -> Settled:
    """Run the optimizers of all numbers from one start.

    Args:
        family: the optimizers.
        y0: the start.
        numbers: what the family takes, an array (R,) for each of its numbers.
        updates: how many updates a run has.
        tail: how many of the last iterates are kept; all, if a run has fewer.
        observe: `observe(y, args)`, a scalar to keep of them.
    """
    first = family.at(*(array[0] for array in numbers))
    state, others = eqx.partition(family.init(first, y0), eqx.is_array)

    def step(leaves, state):
        return floats(family.step(first, combine(leaves, y0), eqx.combine(state, others))[0])

    _, in_turn = traced(step, floats(y0), state)
    count = len(numbers[0])
    at_once = 1 if in_turn else int(np.clip(_BATCH // size(y0), 1, count))
    # The last run is repeated up to a full chunk: a remainder would be compiled as a program of its own.
    rows = np.minimum(np.arange(-(-count // at_once) * at_once), count - 1).reshape(-1, at_once)
    chunks = tuple(jnp.asarray(array[rows]) for array in numbers)
    plan = _Plan(family, y0, observe, others, updates, min(tail, updates + 1), in_turn)
    best, kept = _settle(plan, chunks)
    loss, signal, observed, growth = (np.asarray(x).reshape(rows.size, *x.shape[2:])[:count] for x in kept)
    return Settled(loss, signal, observed, growth, combine(best, y0))


@eqx.filter_jit
def _settle(plan: _Plan, chunks: tuple) -> tuple[Vector, tuple]:
    def chunk(best, numbers):
        ends, kept = _settle_chunk(plan, numbers)
        losses = jnp.where(jnp.isfinite(kept[0][:, -1]), kept[0][:, -1], jnp.inf)
        row = jnp.argmin(losses)
        found = losses[row], jax.tree.map(lambda leaf: leaf[row], ends)
        return jax.tree.map(lambda new, old: jnp.where(found[0] < best[0], new, old), found, best), kept

    none = jnp.asarray(jnp.inf, dtype_of(plan.y0))
    (_, best), kept = jax.lax.scan(chunk, (none, floats(plan.y0)), chunks)
    return best, kept


def _settle_chunk(plan: _Plan, numbers: tuple) -> tuple[Vector, tuple]:
    """Where the runs of a chunk end, and loss, signal and observed of their last iterates, and their growth."""
    before = plan.updates + 1 - plan.tail
    weights = _generic(plan.y0)

    def look(leaves):
        y = combine(leaves, plan.y0)
        return dot(weights, leaves), plan.observe(y, plan.family.args)

    def step(runs, update):
        pairs, loss, parted = plan.each(lambda n, pair: _advance(plan, n, pair))(numbers, runs.pairs)
        known = jnp.isfinite(parted)
        entry = jnp.stack([jnp.where(known, parted, 0), known.astype(parted.dtype)], axis=1)
        starts = known & (update == plan.updates // 2)
        return _Runs(pairs, loss, jnp.where(starts[:, None], 0, runs.growth) + entry)

    def record(runs, update):
        after = step(runs, update)
        return after, (after.loss, *plan.each(look)(_first(runs.pairs)[0]))

    update, runs = jax.lax.while_loop(
        lambda carry: (carry[0] < before) & jnp.any(jnp.isfinite(carry[1].loss)),
        lambda carry: (carry[0] + 1, step(carry[1], carry[0])),
        (jnp.zeros((), jnp.int32), _start(plan, numbers)),
    )
    runs, kept = jax.lax.scan(record, runs, update + jnp.arange(plan.tail, dtype=jnp.int32))
    growth = jnp.exp(runs.growth[:, 0] / runs.growth[:, 1])
    return _first(runs.pairs)[0], (*(jnp.moveaxis(array, 0, 1) for array in kept), growth)


def _start(plan: _Plan, numbers: tuple) -> _Runs:
    count, leaves = numbers[0].shape[0], floats(plan.y0)

    def pair(*numbers):
        state = plan.family.init(plan.family.at(*numbers), plan.y0)
        states = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), eqx.filter(state, eqx.is_array))
        return jax.tree.map(lambda leaf, kick: jnp.stack([leaf, leaf + kick]), leaves, _kick(plan.y0, leaves)), states

    zeros = jnp.zeros((count, 2), dtype_of(plan.y0))
    return _Runs(plan.each(pair)(*numbers), zeros[:, 0], zeros)


def _advance(plan: _Plan, numbers: tuple, pair: PyTree) -> tuple[PyTree, Array, Array]:
    """A run and its neighbour one update further, the run's loss before it, and the logarithm of how they parted."""
    optimizer = plan.family.at(*numbers)

    def one(leaves, state):
        y, state, loss = plan.family.step(optimizer, combine(leaves, plan.y0), eqx.combine(state, plan.others))
        return floats(y), eqx.filter(state, eqx.is_array), loss

    leaves, state, loss = plan.each(one)(*pair)
    moved, parted = _put_back(plan.y0, _neighbour(pair), (leaves, state))
    return moved, loss[0], parted


def _put_back(y0: State, before: Vector, pair: PyTree) -> tuple[PyTree, Array]:
    """A pair with its neighbour at a small distance again, and the logarithm of how it grew from `before`."""
    moving, others = eqx.partition(pair, is_float_array)
    difference, leaves = _neighbour(pair), jax.tree.map(lambda leaf: leaf[0], pair[0])
    # A step may put both in one place: the neighbour starts again.
    restart = _kick(y0, leaves), jax.tree.map(jnp.zeros_like, difference[1])
    grown, apart = _length(difference), _length(restart)
    scale = apart / jnp.where(grown > 0, grown, 1)
    difference = jax.tree.map(
        lambda leaf, again: jnp.where(grown > 0, leaf * scale.astype(leaf.dtype), again), difference, restart
    )
    moving = jax.tree.map(lambda leaf, ahead: jnp.stack([leaf[0], leaf[0] + ahead]), moving, difference)
    parted = jnp.log(jnp.maximum(grown / _length(before), jnp.finfo(grown.dtype).eps))
    # An optimizer's state may be wider than the iterate, such as the time of a discretised flow.
    return eqx.combine(moving, others), parted.astype(dtype_of(y0))


def _neighbour(pair: PyTree) -> Vector:
    """Where the neighbour is, seen from the run: iterate and state of the optimizer."""
    return jax.tree.map(lambda leaf: leaf[1] - leaf[0], floats(pair))


def _length(vector: Vector) -> Float[Array, ""]:
    return jnp.sqrt(dot(vector, vector))


def _first(pairs: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[:, 0], pairs)


def _generic(y: State) -> Vector:
    """Fixed numbers like the float leaves of a state, of which none is special; with its signs no terms cancel."""
    rng = np.random.default_rng(0)

    def numbers(leaf):
        sizes = jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype)
        return jnp.where(leaf < 0, -sizes, sizes)

    return jax.tree.map(numbers, floats(y))


def _kick(y0: State, leaves: Vector) -> Vector:
    """From an iterate to its neighbour: far enough for rounding, near enough to be linear."""
    direction, size = _generic(y0), jnp.maximum(_length(floats(y0)), _length(leaves))
    size = jnp.where(size > 0, size, 1) * np.sqrt(np.finfo(size.dtype).eps) / _length(direction)
    return jax.tree.map(lambda leaf: leaf * size.astype(leaf.dtype), direction)
