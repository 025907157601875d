"""The power series of a step and of the flow in the step size, by directional derivatives.

A state and its time are one point here, so that a field that changes with time is one that does not. Nothing has more
than one index: every derivative is a directional one, of a directional one.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..._tree import combine
from ..._typing import Args, Scalar, State, Vector
from ...flow import AbstractFlow
from ...metric import AbstractMetric

Point = tuple[Scalar, Vector]
"""A time, and the float leaves of a state."""

Field = Callable[[PyTree], PyTree]


class System(NamedTuple):
    """A flow as a field of points, in which time passes at the rate one.

    Attributes:
        flow: the flow.
        like: a state, for the leaves that do not move.
        args: what the flow is handed.
    """

    flow: AbstractFlow
    like: State
    args: Args

    def __call__(self, point: Point) -> Point:
        t, _ = point
        return jnp.ones_like(t), self.flow.vector_field(t, self.state(point), self.args)

    def state(self, point: Point) -> State:
        return combine(point[1], self.like)

    def metric(self, point: Point) -> AbstractMetric:
        """The metric at the time of a point, of a flow that has one."""
        return cast(AbstractMetric, self.flow.metric).at(point[0])


def along(field: Field, direction: Field) -> Field:
    """The derivative of a field along another."""
    return lambda place: jax.jvp(field, (place,), (direction(place),))[1]


def derivative_of_solution(field: Field, count: int) -> Field:
    """The `count`-th derivative of a solution of `x' = field(x)`, at its start."""
    found = field
    for _ in range(count - 1):
        found = along(found, field)
    return found


def derivative_at_zero(curve: Field, count: int, h: Scalar) -> PyTree:
    """The `count`-th derivative at zero of a function of the step size; `h` is one, for its precision."""
    for _ in range(count):
        curve = along(curve, jnp.ones_like)
    return curve(jnp.zeros_like(h))


def moved(place: PyTree, h: Scalar, velocity: PyTree) -> PyTree:
    """`place + h velocity`, in the precision of each leaf."""
    return jax.tree.map(lambda leaf, v: leaf + jnp.asarray(h).astype(leaf.dtype) * v, place, velocity)
