"""The mirror step: Euler's in dual coordinates."""

import jax
import jax.numpy as jnp

from ..._tree import floats
from ..._typing import Vector
from ._start import Start, scaled


def mirror(start: Start) -> Vector:
    """`grad phi(y+) = grad phi(y) - h g`, for the metric `phi''`, with the gradients that are given: order 1.

    Reference: A. S. Nemirovsky and D. B. Yudin, "Problem Complexity and Method Efficiency in Optimization" (1983).
    """
    gradients = start.gradients
    step = scaled(-start.h, gradients, gradients)
    dual = jax.tree.map(jnp.add, start.metric.dual(start.y, start.args), step)
    there = start.metric.primal(dual, start.y, start.args)
    return jax.tree.map(jnp.subtract, floats(there), floats(start.y))
