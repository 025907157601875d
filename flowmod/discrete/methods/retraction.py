"""The second-order retraction: a geodesic up to its first bend."""

import jax
import jax.numpy as jnp

from ..._tree import as_state, combine, floats
from ..._typing import Args, State, Vector
from ...metric import AbstractMetric
from ._start import Start
from .euler import euler
from .geodesic import turning, velocity_like


def retraction(metric: AbstractMetric, y: State, v: Vector, args: Args = None) -> State:
    """`y + v - Gamma(v, v) / 2`: the exponential map up to terms of third order in `v`, by one solve.

    It costs two derivatives of `M(y) v` and a solve, where `fm.exp_map` integrates a differential equation; but a long
    step can leave the space.

    Args:
        metric: the metric; a moving one as it is at time 0 (pass `metric.at(t)` for another).
        y: the state.
        v: a velocity, a tree like the float leaves of `y`.
        args: handed to the metric.

    Returns:
        A state like `y`.

    Raises:
        ValueError: if `metric` is no metric, or `v` is no tree like `y`.

    Reference: P.-A. Absil, R. Mahony, R. Sepulchre, "Optimization Algorithms on Matrix Manifolds" (2008), ch. 5.
    """
    y = as_state("y", y)
    way = _way(metric, y, velocity_like(v, y), args)
    return combine(jax.tree.map(jnp.add, floats(y), way), y)


def retracted_euler(start: Start) -> Vector:
    """`retraction(y, -h M^-1 g) - y` with the gradients that are given: order 1."""
    return _way(start.metric, start.y, euler(start), start.args)


def _way(metric: AbstractMetric, y: State, v: Vector, args: Args) -> Vector:
    return jax.tree.map(lambda straight, bent: straight + bent / 2, v, turning(metric, y, v, args))
