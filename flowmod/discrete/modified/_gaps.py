"""The iterates of an optimizer, and their lengths, losses and shares beside those of the flow."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..._tree import combine, dot, floats
from ..._typing import Args, State, Vector
from ...flow import GradientFlow
from ...linalg import Blocks
from ...metric import steepest_descent, value_and_covector
from ..methods import discretize
from ._companions import Companions
from ._steps import METHODS
from .modified_potential import SIGNS


class Gaps(NamedTuple):
    """What a `GapReport` has of the run, by record: see there."""

    gap: Any
    predicted: Any
    unexplained: Any
    modified: Any
    shares: Any
    predicted_shares: Any
    loss: Any
    loss_gap: Any
    predicted_loss_gap: Any
    regularisation: Any
    regularisation_loss_gap: Any


@eqx.filter_jit
def iterates(flow: GradientFlow, y0: State, h: Any, updates: Int[Array, " T"], method: str, args: Args) -> Vector:
    """The float leaves of the iterates after these numbers of updates, with a leading axis (T,)."""
    optimizer = discretize(flow, h, method, args)

    def update(_, carry):
        leaves, state = carry
        y = combine(leaves, y0)
        _, gradient = value_and_covector(flow.potential, y, args)
        step, state = optimizer.update(gradient, state, y)
        return jax.tree.map(jnp.add, leaves, floats(step)), state

    def until(carry, span):
        first, last = span
        carry = jax.lax.fori_loop(first, last, update, carry)
        return carry, carry[0]

    spans = jnp.concatenate([jnp.zeros_like(updates[:1]), updates[:-1]]), updates
    return jax.lax.scan(until, (floats(y0), optimizer.init(y0)), spans)[1]


@eqx.filter_jit
def measure(
    flow: GradientFlow,
    y0: State,
    h: Float[Array, ""],
    times: Float[Array, " T"],
    method: str,
    modules: Blocks,
    args: Args,
    found: Vector,
    along: Companions,
) -> Gaps:
    """All measures at every record, one record after the other."""
    factor = h ** METHODS[method].order

    def at(record) -> Gaps:
        t, iterate, there = record
        y, metric = combine(there.flow, y0), flow.metric.at(t)
        loss, covector, vector = steepest_descent(flow.potential, metric, y, args)

        def squares(difference: Vector) -> Float[Array, " L"]:
            """The squared length, by module."""
            products = jax.tree.map(jnp.multiply, difference, metric.flat(y, difference, args))
            return jnp.stack([sum(jnp.sum(leaf) for leaf in part) for part in modules.split(products)])

        def length(difference: Vector) -> Float[Array, ""]:
            return jnp.sqrt(jnp.sum(squares(difference)))

        gap = _minus(iterate, there.flow)
        predicted, regularised = (_times(factor, error) for error in (there.error, there.regularisation))
        gap_squares, predicted_squares = squares(gap), squares(predicted)
        return Gaps(
            gap=jnp.sqrt(jnp.sum(gap_squares)),
            predicted=jnp.sqrt(jnp.sum(predicted_squares)),
            unexplained=length(_minus(gap, predicted)),
            modified=jnp.stack([length(_minus(iterate, place)) for place in there.modified]),
            shares=_shares(gap_squares),
            predicted_shares=_shares(predicted_squares),
            loss=loss,
            loss_gap=flow.potential(combine(iterate, y0), args) - loss,
            predicted_loss_gap=dot(covector, predicted),
            regularisation=SIGNS.get(method, 0) * h / 4 * -dot(covector, vector),
            regularisation_loss_gap=dot(covector, regularised),
        )

    leaves = along._replace(flow=floats(along.flow), modified=tuple(map(floats, along.modified)))
    return jax.lax.map(at, (times, found, leaves))


def _shares(squares: Float[Array, " L"]) -> Float[Array, " L"]:
    """Parts of their sum; of nothing there are none."""
    whole = jnp.sum(squares)
    return squares / jnp.where(whole == 0, 1, whole)


def _minus(a: Vector, b: Vector) -> Vector:
    return jax.tree.map(jnp.subtract, a, b)


def _times(factor: Any, vector: Vector) -> Vector:
    return jax.tree.map(lambda leaf: factor.astype(leaf.dtype) * leaf, vector)
