"""The runs of one optimizer with all its step sizes, in one program.

One step size after the other, each with a loop that ends with its own last update: in lockstep every run would cost
as much as the longest, and a run that blows up would go on.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..._tree import combine, dot, floats
from ..._typing import Covector, Vector
from ...metric import Euclidean, value_and_covector
from ._optimizer import Optimizer
from ._reference import Reference


class Plan(NamedTuple):
    """Of each step size: which updates are recorded, and where the flow's states of that time are."""

    step_size: Any
    updates: Any
    rows: Any


class Records(NamedTuple):
    """What is kept of the runs, by step size and record; NaN after a run was not finite.

    Attributes:
        loss: the potential, (S, 61).
        distance: from the flow at the same time, Euclidean, (S, 61).
        distance_metric: the same in the flow's metric at the flow's state, (S, 61).
        rise: in the last third of the updates, the largest rise of the loss above what it was before, (S,).
    """

    loss: Any
    distance: Any
    distance_metric: Any
    rise: Any


class Iterate(NamedTuple):
    """An iterate with its loss and gradient, which the next update needs anyway."""

    leaves: Vector
    state: Any
    count: Int[Array, ""]
    loss: Float[Array, ""]
    gradient: Covector
    lowest: Float[Array, ""]
    rise: Float[Array, ""]

    @property
    def is_finite(self) -> Bool[Array, ""]:
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in (self.loss, *jax.tree.leaves(self.leaves))]
        return jnp.all(jnp.stack(finite))


@eqx.filter_jit
def loss_and_gradient(reference: Reference) -> tuple[Float[Array, ""], Covector]:
    """Compiled here once, so that the program of every optimizer holds the gradient once only."""
    return value_and_covector(reference.potential, reference.y0, reference.args)


@eqx.filter_jit
def run_all(optimizer: Optimizer, reference: Reference, start: tuple, plan: Plan) -> Records:
    """Run an optimizer with every step size of a plan; `start` is the loss and the gradient at the start.

    Raises:
        ValueError: if the optimizer fails in Python; the error names it.
    """
    return jax.lax.map(lambda plan: _run(optimizer, reference, start, plan), plan)


def _run(optimizer: Optimizer, reference: Reference, start: tuple, plan: Plan) -> Records:
    transformation = optimizer.at(plan.step_size)
    leaves, (loss, gradient) = floats(reference.y0), start
    state = optimizer.init(transformation, leaves)
    numbers, others = eqx.partition(state, eqx.is_array)
    watched = 2 * plan.updates[-1] // 3

    def step(last: Iterate) -> Iterate:
        state = eqx.combine(last.state, others)
        updates, state = optimizer.update(transformation, last.gradient, state, last.leaves, last.loss, reference)
        leaves = jax.tree.map(jnp.add, last.leaves, updates)
        y = combine(leaves, reference.y0)
        loss, gradient = value_and_covector(reference.potential, y, reference.args)
        count = last.count + 1
        lowest = jnp.where(count > watched, jnp.minimum(last.lowest, loss), loss)
        rise = jnp.maximum(last.rise, loss - lowest)
        return Iterate(leaves, eqx.filter(state, eqx.is_array), count, loss, gradient, lowest, rise)

    def until(iterate: Iterate, record):
        update, row = record
        iterate = jax.lax.while_loop(lambda i: (i.count < update) & i.is_finite, step, iterate)
        distance, in_metric = _distances(reference, row, iterate.leaves)
        values = (iterate.loss, distance, in_metric)
        return iterate, tuple(jnp.where(iterate.is_finite, value, jnp.nan) for value in values)

    first = Iterate(leaves, numbers, jnp.zeros((), jnp.int32), loss, gradient, loss, jnp.zeros_like(loss))
    last, (losses, distances, in_metric) = jax.lax.scan(until, first, (plan.updates, plan.rows))
    return Records(losses, distances, in_metric, last.rise)


def _distances(reference: Reference, row, leaves: Vector) -> tuple:
    flow, args = reference.flow, reference.args
    t, there = jax.tree.map(lambda along: along[row], (reference.times, reference.path))
    difference = jax.tree.map(jnp.subtract, leaves, there)
    metric = Euclidean() if flow.metric is None else flow.metric.at(t)
    return jnp.sqrt(dot(difference, difference)), metric.norm(combine(there, reference.y0), difference, args)
