"""The runs of one optimizer in one program: lane by lane side by side, and one chunk of lanes after the other.

All runs of a chunk make their updates together, and it ends when each has made its last or is not finite any more: a
long run holds up those of its chunk only, and one that blows up only its own lane.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..._tree import combine, dot
from ..._typing import Covector, Vector
from ...metric import Euclidean, value_and_covector
from ..fates import TAIL
from ._lanes import chosen, side_by_side, traced
from ._optimizer import Optimizer
from ._reference import Reference


class Runs(NamedTuple):
    """What tells the runs apart, with a leading axis (R,) on each.

    Attributes:
        step_size: the step sizes.
        start: which of the starts it is.
        updates: which updates are recorded, (R, 61).
        rows: where the flow's states of these times are, (R, 61).
    """

    step_size: Any
    start: Any
    updates: Any
    rows: Any


class Records(NamedTuple):
    """What is kept of the runs; NaN after a run was not finite.

    Attributes:
        loss: the potential, (R, 61).
        distance: from the flow at the same time, Euclidean, (R, 61).
        distance_metric: the same in the flow's metric at the flow's state, (R, 61).
        flow_loss: the potential of the flow, (R, 61).
        made: how many updates a run made, (R,): fewer than wanted if it was not finite any more.
        tail_loss: the potential of the last iterates, (R, `TAIL`); NaN in front if there were not so many.
        tail_signal: a fixed random linear function of them, (R, `TAIL`).
    """

    loss: Any
    distance: Any
    distance_metric: Any
    flow_loss: Any
    made: Any
    tail_loss: Any
    tail_signal: Any


class Iterate(NamedTuple):
    """An iterate with its loss and gradient, which the next update needs anyway."""

    leaves: Vector
    state: Any
    count: Int[Array, "*lanes"]
    loss: Float[Array, "*lanes"]
    gradient: Covector
    signal: Float[Array, "*lanes"]

    @property
    def is_finite(self) -> Bool[Array, "*lanes"]:
        # No number of the state that is not finite leaves the signal so.
        return jnp.isfinite(self.loss) & jnp.isfinite(self.signal)


@eqx.filter_jit
def losses_and_gradients(reference: Reference) -> tuple[Float[Array, " starts"], Covector]:
    """Compiled here once, so that the program of every optimizer holds the gradient once only."""
    return jax.lax.map(lambda leaves: _loss_and_gradient(reference, leaves), reference.starts)


@eqx.filter_jit
def run_all(optimizer: Optimizer, reference: Reference, first: tuple, runs: Runs, lanes: int) -> tuple[Records, bool]:
    """Run an optimizer.

    Args:
        optimizer: the optimizer.
        reference: the flow.
        first: the losses and the gradients at the starts.
        runs: the runs, so many that they make whole chunks.
        lanes: how many make a chunk. If the step factorises a matrix, every run is a chunk of its own.

    Returns:
        The records, and whether the step factorises a matrix.

    Raises:
        ValueError: if the optimizer fails in Python; the error names it.
    """
    one = jax.tree.map(lambda leaf: leaf[0], runs)
    example = eqx.filter_eval_shape(_first, optimizer, reference, first, one)
    others = eqx.filter(example.state, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct), inverse=True)
    example = eqx.filter(example, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))

    def start(run: Runs) -> Iterate:
        return eqx.filter(_first(optimizer, reference, first, run), eqx.is_array)

    def step(last: Iterate, step_size) -> Iterate:
        after = _next(optimizer, reference, last._replace(state=eqx.combine(last.state, others)), step_size)
        return eqx.filter(after, eqx.is_array)

    def look(last: Iterate, start, row) -> tuple:
        return _look(reference, last, start, row)

    step, factorises = traced(step, example, one.step_size)
    lanes = 1 if factorises else lanes
    start, step, look = (side_by_side(fn, lanes) for fn in (start, step, look))
    chunks = jax.tree.map(lambda leaf: leaf.reshape(-1, lanes, *leaf.shape[1:]), runs)
    records = jax.lax.map(lambda chunk: _run_chunk(start, step, look, chunk), chunks)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), records), factorises


def _run_chunk(start, step, look, runs: Runs) -> Records:
    lanes = jnp.arange(len(runs.start), dtype=jnp.int32)
    iterate = start(runs)
    missing = jnp.full((2, len(lanes), TAIL), jnp.nan, iterate.signal.dtype)

    def kept(tails, iterate: Iterate, which):
        # Out of range, and so dropped, for a lane that waits.
        slot = jnp.where(which, iterate.count % TAIL, TAIL)
        values = jnp.stack([iterate.loss.astype(tails.dtype), iterate.signal])
        return tails.at[:, lanes, slot].set(values, mode="drop")

    def until(carry, record):
        updates, rows = record

        def moving(iterate: Iterate):
            return (iterate.count < updates) & iterate.is_finite

        def together(carry):
            last, tails = carry
            which, after = moving(last), step(last, runs.step_size)
            after = after if len(lanes) == 1 else chosen(which, after, last)
            return after, kept(tails, after, which)

        iterate, tails = jax.lax.while_loop(lambda carry: jnp.any(moving(carry[0])), together, carry)
        return (iterate, tails), look(iterate, runs.start, rows)

    carry = iterate, kept(missing, iterate, iterate.is_finite)
    (last, tails), records = jax.lax.scan(until, carry, (runs.updates.T, runs.rows.T))
    # The last iterate to the end of its tail, the one before in front of it, and so on.
    order = (last.count[:, None] + 1 + jnp.arange(TAIL, dtype=jnp.int32)[None]) % TAIL
    loss, distance, in_metric, flow_loss = (record.T for record in records)
    tail_loss, tail_signal = (jnp.take_along_axis(tail, order, axis=1) for tail in tails)
    return Records(loss, distance, in_metric, flow_loss, last.count, tail_loss, tail_signal)


def _first(optimizer: Optimizer, reference: Reference, first: tuple, run: Runs) -> Iterate:
    leaves, (loss, gradient) = jax.tree.map(lambda along: along[run.start], (reference.starts, first))
    state = optimizer.init(optimizer.at(run.step_size, reference.flow), leaves)
    return Iterate(leaves, state, jnp.zeros((), jnp.int32), loss, gradient, dot(reference.weights, leaves))


def _next(optimizer: Optimizer, reference: Reference, last: Iterate, step_size) -> Iterate:
    made = optimizer.at(step_size, reference.flow)
    updates, state = optimizer.update(made, last.gradient, last.state, last.leaves, last.loss, reference)
    leaves = jax.tree.map(jnp.add, last.leaves, updates)
    loss, gradient = _loss_and_gradient(reference, leaves)
    return Iterate(leaves, state, last.count + 1, loss, gradient, dot(reference.weights, leaves))


def _loss_and_gradient(reference: Reference, leaves: Vector) -> tuple[Float[Array, ""], Covector]:
    return value_and_covector(reference.potential, combine(leaves, reference.static), reference.args)


def _look(reference: Reference, iterate: Iterate, start, row) -> tuple:
    flow, args = reference.flow, reference.args
    t, there = reference.times[row], jax.tree.map(lambda along: along[start, row], reference.path)
    y = combine(there, reference.static)
    difference = jax.tree.map(jnp.subtract, iterate.leaves, there)
    metric = Euclidean() if flow.metric is None else flow.metric.at(t)
    found = iterate.loss, jnp.sqrt(dot(difference, difference)), metric.norm(y, difference, args)
    return *(jnp.where(iterate.is_finite, value, jnp.nan) for value in found), reference.potential(y, args)
