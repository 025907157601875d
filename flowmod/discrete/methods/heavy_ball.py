"""Heavy ball: gradient descent with momentum."""

from typing import Any

from ..._typing import Vector
from ...flow import InertialFlow
from ._inertia import pushed, resistance
from ._start import Start, scaled, total
from .euler import euler


def heavy_ball(start: Start, last: Vector, momentum: Any) -> tuple[Vector, Vector]:
    """`y+ = y - h M^-1 g + momentum (y - y-)`, with the gradients that are given.

    For an inertial flow of the damping `gamma M` it is `y+ = y - h^2 M^-1 g + (1 - gamma h)(y - y-)`, less the bend of
    the geodesic where the metric depends on the state: the symplectic Euler method, order 1 in the flow's own time.

    Args:
        start: where the step starts.
        last: the last step, `y - y-`; for an inertial flow the velocity.
        momentum: what is kept of the last step; `None` for an inertial flow, whose friction says it.

    Returns:
        The step, and what the next one takes for `last`.

    Reference: B. T. Polyak, "Some methods of speeding up the convergence of iteration methods" (1964).
    """
    if isinstance(start.flow, InertialFlow):
        velocity = pushed(start, last, total([start.gradients, resistance(start, last)]))
        return scaled(start.h, velocity, velocity), velocity
    step = total([scaled(momentum, last, last), euler(start)])
    return step, step
