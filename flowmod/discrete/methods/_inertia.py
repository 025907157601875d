"""A mass on its way between the pushes of a potential: what an inertial flow does to its velocity in one step."""

import jax
import jax.numpy as jnp

from ..._tree import cast_like
from ..._typing import Covector, Vector
from ._start import Start, total
from .euler import euler


def pushed(start: Start, velocity: Vector, forces: Covector) -> Vector:
    """`velocity - h M(y)^-1 forces`."""
    return total([velocity, euler(start._replace(updates=forces))])


def resistance(start: Start, velocity: Vector) -> Covector:
    """`C(y, v) v + D(y) v`: the Coriolis force, which keeps a coasting mass on its geodesic, and the friction."""
    flow, known = start.flow, (start.t, start.y, velocity, start.args)
    forces = jax.tree.map(jnp.add, flow.coriolis(*known), cast_like(flow.friction(*known), velocity))
    return cast_like(forces, velocity)
