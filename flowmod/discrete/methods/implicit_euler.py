"""Euler's step, implicit: the proximal step."""

import jax.numpy as jnp

from ..._tree import ravel, unraveler
from ..._typing import Vector
from ...linalg import newton
from ._start import Start, compiled


@compiled
def implicit_euler(start: Start) -> Vector:
    """`d = h v(y + d)` by Newton's method: order 1, and stable for every positive curvature.

    NaN where Newton's method does not find a root. On a flat space it is the proximal step.
    """
    unravel, y = unraveler(start.y), ravel(start.y)

    def residual(d):
        return d - start.h.astype(d.dtype) * ravel(start.descent(unravel(d), 1.0))

    floor = jnp.finfo(y.dtype).eps ** 0.5 * jnp.linalg.norm(y)
    return unravel(newton(residual, jnp.zeros_like(y), floor))
