"""Nesterov's method: momentum first, and the gradient where it leads."""

from typing import Any

from ..._typing import Vector
from ...flow import InertialFlow
from ._inertia import pushed, resistance
from ._start import Start, scaled, total


def nesterov(start: Start, last: Vector, momentum: Any) -> tuple[Vector, Vector]:
    """`y+ = z - h M(z)^-1 grad f(z)` with `z = y + momentum (y - y-)`.

    The gradient is evaluated at `z`, and the parameters are the `y`: optax's `sgd(nesterov=True)` takes given
    gradients, because its parameters are the `z`. For an inertial flow of the damping `gamma M` it is the same with
    `h^2` for `h` and `1 - gamma h` for the momentum (see `heavy_ball`).

    Args:
        start: where the step starts.
        last: the last step, `y - y-`; for an inertial flow the velocity.
        momentum: what is kept of the last step; `None` for an inertial flow.

    Returns:
        The step, and what the next one takes for `last`.

    Reference: Y. Nesterov, "A method of solving a convex programming problem with convergence rate O(1/k^2)" (1983).
    """
    if isinstance(start.flow, InertialFlow):
        coasting = pushed(start, last, resistance(start, last))
        descent = start.descent(scaled(start.h, coasting, coasting), 1.0)
        velocity = total([coasting, scaled(start.h, descent, descent)])
        return scaled(start.h, velocity, velocity), velocity
    kept = scaled(momentum, last, last)
    descent = start.descent(kept, 0.0)
    step = total([kept, scaled(start.h, descent, descent)])
    return step, step
