"""Where a step starts, and what it may look at."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._tree import floats, is_traced
from ..._typing import Args, Covector, State, Vector
from ...metric import gradients_like, steepest_descent


class Start(NamedTuple):
    """Where a step starts, and what it may look at.

    Attributes:
        flow: the `GradientFlow` or `InertialFlow`, with the potential of this update.
        t: the time, a scalar.
        h: the step size, a scalar in the precision of the state.
        y: the state.
        updates: the gradients that the update was given.
        args: handed to potential and metric.
    """

    flow: Any
    t: Float[Array, ""]
    h: Float[Array, ""]
    y: State
    updates: Covector
    args: Args

    @property
    def metric(self) -> Any:
        return self.flow.metric.at(self.t)

    @property
    def gradients(self) -> Covector:
        """The given gradients, in the precision of the state; a `ValueError` if they are no tree like it."""
        return gradients_like(self.updates, self.y)

    def moved(self, step: Vector) -> State:
        return eqx.apply_updates(self.y, step)

    def descent(self, step: Vector, node: float) -> Vector:
        """`-M^-1 grad f` where `step` leads, after the part `node` of the time."""
        metric = self.flow.metric.at(self.t + node * self.h)
        return steepest_descent(self.flow.potential, metric, self.moved(step), self.args)[2]


def compiled(step: Callable) -> Callable:
    """A step with a loop as a program that is kept: called outside of a program, each call would compile it again."""
    kept = eqx.filter_jit(step)

    @functools.wraps(step)
    def run(*operands: Any) -> Vector:
        return step(*operands) if is_traced(operands) else kept(*operands)

    return run


def scaled(factor: Any, vector: Vector, like: Vector) -> Vector:
    """A vector times a number, in the precision of `like`."""
    return jax.tree.map(lambda leaf, wanted: factor.astype(wanted.dtype) * leaf.astype(wanted.dtype), vector, like)


def zero_like(y: State) -> Vector:
    return jax.tree.map(jnp.zeros_like, floats(y))


def total(vectors: Sequence[Vector]) -> Vector:
    return functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), vectors)
