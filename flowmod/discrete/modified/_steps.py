"""One step of each method as a curve from a point, with its derivatives in the step size at zero."""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from ..._tree import combine
from ..._typing import Potential, Scalar
from ...flow import AbstractFlow, GradientFlow
from ...metric import AbstractMetric, HessianMetric, value_and_covector
from ..methods.geodesic import turning
from ..methods.runge_kutta import HEUN, RK4, Tableau
from ._series import Field, Point, System, derivative_at_zero, derivative_of_solution, moved

_SUBSTITUTIONS = 3
"""Of an implicit step into itself: it then has the solution's derivatives up to the third, all that is asked for."""


class Method(NamedTuple):
    """A one-step method.

    Attributes:
        order: the largest power of the step size up to which a step is the flow's.
        derivative: `(system, k) -> (point -> the k-th derivative of a step from there)`, for `k` of at least two.
        sign: minus one for implicit Euler, which undoes an explicit step back in time: its equation is that of `-h`.
        flow: what it is for.
        metric: the metric that it needs.
    """

    order: int
    derivative: Callable[[System, int], Field]
    sign: int = 1
    flow: type = AbstractFlow
    metric: type = object


def _formula(step: Callable[[System, Scalar, Point], Point]) -> Callable[[System, int], Field]:
    """For a step that is a formula of the step size."""

    def derivative(system: System, count: int) -> Field:
        return lambda point: derivative_at_zero(lambda h: step(system, h, point), count, point[0])

    return derivative


def _runge_kutta(tableau: Tableau):
    def step(system: System, h: Scalar, point: Point) -> Point:
        velocities = []
        for weights in tableau.stages:
            velocities.append(system(_sum(point, h, weights, velocities)))
        return _sum(point, h, tableau.weights, velocities)

    return step


def _sum(point: Point, h: Scalar, weights: tuple[float, ...], velocities: list[Point]) -> Point:
    for weight, velocity in zip(weights, velocities, strict=True):
        point = moved(point, weight * h, velocity) if weight else point
    return point


def _minimizing_movement(system: System, h: Scalar, point: Point) -> Point:
    metric, potential, found = system.metric(point), cast(Potential, system.flow.potential), point
    for _ in range(_SUBSTITUTIONS):
        _, covector = value_and_covector(potential, system.state(found), system.args)
        vector = metric.sharp(system.state(point), covector, system.args)
        found = moved(point, h, (jnp.ones_like(h), jax.tree.map(jnp.negative, vector)))
    return found


def _retraction(system: System, h: Scalar, point: Point) -> Point:
    velocity = system(point)
    bend = turning(system.metric(point), system.state(point), velocity[1], system.args)
    return moved(moved(point, h, velocity), h**2 / 2, (jnp.zeros_like(h), bend))


def _geodesic(system: System, count: int) -> Field:
    """A free motion, in the metric of the time of the start."""

    def at(point: Point) -> Point:
        metric = system.metric(point)

        def motion(pair):
            place, velocity = pair
            return velocity, turning(metric, combine(place, system.like), velocity, system.args)

        start = point[1], system(point)[1]
        return jnp.zeros_like(point[0]), derivative_of_solution(motion, count)(start)[0]

    return at


def _mirror(system: System, count: int) -> Field:
    """A motion whose covector stays: the dual coordinates move straight on."""

    def at(point: Point) -> Point:
        metric = system.metric(point)
        covector = metric.flat(system.state(point), system(point)[1], system.args)

        def motion(place):
            return metric.sharp(combine(place, system.like), covector, system.args)

        return jnp.zeros_like(point[0]), derivative_of_solution(motion, count)(point[1])

    return at


_EULER = _formula(lambda system, h, point: moved(point, h, system(point)))

METHODS = {
    "euler": Method(1, _EULER),
    "heun": Method(2, _formula(_runge_kutta(HEUN))),
    "rk4": Method(4, _formula(_runge_kutta(RK4))),
    "implicit_euler": Method(1, _EULER, sign=-1),
    "minimizing_movement": Method(1, _formula(_minimizing_movement), flow=GradientFlow),
    "geodesic": Method(1, _geodesic, metric=AbstractMetric),
    "retraction": Method(1, _formula(_retraction), metric=AbstractMetric),
    "mirror": Method(1, _mirror, metric=HessianMetric),
}
