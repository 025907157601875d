"""The geodesic step: Euler's, along the straightest line that the metric has."""

import diffrax
import jax
import jax.numpy as jnp

from ..._tree import as_state, cast_like, combine, floats, negative, ravel, traced_numbers, unraveler
from ..._typing import Args, State, Vector
from ...flow import InertialFlow
from ...metric import AbstractMetric, require_metric
from ._start import Start, compiled
from .euler import euler


def exp_map(metric: AbstractMetric, y: State, v: Vector, args: Args = None) -> State:
    """The exponential map: where the geodesic that leaves `y` with velocity `v` is after unit time.

    A geodesic is the free motion of a mass, an inertial flow without potential and friction. It is integrated by Tsit5
    to an error of `eps^(2/3)` of the way's length in each step (4e-11; 2e-5 in float32), in the metric at `y`. On a way
    of many radii of curvature errors grow as the geodesics themselves part.

    Args:
        metric: the metric; a moving one as it is at time 0 (pass `metric.at(t)` for another).
        y: the state.
        v: a velocity, a tree like the float leaves of `y`.
        args: handed to the metric.

    Returns:
        A state like `y`; NaN where the geodesic leaves the space, or does not end within 10,000 steps.

    Raises:
        ValueError: if `metric` is no metric, or `v` is no tree like `y`.

    Reference: J. M. Lee, "Introduction to Riemannian Manifolds" (2018), ch. 5.
    """
    require_metric("metric", metric)
    y = as_state("y", y)
    way = geodesic_way(metric, y, velocity_like(v, y), traced_numbers(args))
    return combine(jax.tree.map(jnp.add, floats(y), way), y)


def geodesic_euler(start: Start) -> Vector:
    """`exp_map(y, -h M^-1 g) - y` with the gradients that are given: order 1, the same in all coordinates."""
    return geodesic_way(start.metric, start.y, euler(start), start.args)


@compiled
def geodesic_way(metric: AbstractMetric, y: State, v: Vector, args: Args) -> Vector:
    """`exp_map(metric, y, v) - y`, to the precision of itself and not of `y`."""
    unravel, flat = unraveler(y), ravel(v)
    held = metric.at(0.0)

    def length(vector):
        return held.norm(y, unravel(vector), args).astype(flat.dtype)

    speed = length(flat)
    speed = jax.lax.stop_gradient(jnp.where(speed == 0, 1, speed))  # a unit

    def error_norm(errors):
        # In the metric at `y`, in which the speed is one: numbers of the state may differ in scale.
        return jax.lax.stop_gradient(jnp.maximum(*map(length, errors)))

    def field(t, motion, _):
        # In units of the speed, so that the tolerances are relative to the way, however short it is.
        way, velocity = motion
        place = combine(jax.tree.map(jnp.add, floats(y), unravel(speed * way)), y)
        return velocity, ravel(turning(metric, place, unravel(speed * velocity), args)) / speed

    zero, one = (jnp.asarray(t, flat.dtype) for t in (0, 1))
    tolerance = float(jnp.finfo(flat.dtype).eps) ** (2 / 3)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Tsit5(),
        zero,
        one,
        one,
        (jnp.zeros_like(flat), flat / speed),
        stepsize_controller=diffrax.PIDController(rtol=0, atol=tolerance, norm=error_norm),
        max_steps=10_000,
        throw=False,
    )
    assert solution.ys is not None  # the end is what diffrax saves by default
    arrived = solution.result == diffrax.RESULTS.successful
    return unravel(jnp.where(arrived, speed * solution.ys[0][-1], jnp.nan))


def turning(metric: AbstractMetric, y: State, v: Vector, args: Args) -> Vector:
    """`-Gamma(v, v)`: the acceleration of a mass that moves freely, by the Coriolis term of an inertial flow."""
    free = InertialFlow(_no_potential, metric)
    return negative(metric.at(0.0).sharp(y, free.coriolis(0.0, y, v, args), args))


def velocity_like(v: Vector, y: State) -> Vector:
    """A velocity in the precision of the state; a `ValueError` if it is no tree like it."""
    v = as_state("v", v)
    shapes = [[leaf.shape for leaf in jax.tree.leaves(floats(tree))] for tree in (v, y)]
    if jax.tree.structure(floats(v)) != jax.tree.structure(floats(y)) or shapes[0] != shapes[1]:
        raise ValueError(
            f"`v` must be a velocity, a tree like the float leaves of `y`, of shapes {shapes[1]}, got {shapes[0]}."
        )
    return cast_like(floats(v), floats(y))


def _no_potential(y: State, args: Args):
    del y, args
    return jnp.zeros(())
