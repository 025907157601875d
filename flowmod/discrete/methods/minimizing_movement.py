"""The minimizing movement: the best trade of loss against distance."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._tree import ravel, unraveler
from ..._typing import Vector
from ...linalg import Correction, Product, newton
from ...metric import hessian_product, metric_products, value_and_covector
from ._start import Start, compiled

Flat = Float[Array, " n"]


@compiled
def minimizing_movement(start: Start) -> Vector:
    """`argmin_d f(y + d) + d^T M(y) d / (2 h)`, the metric frozen at `y`: order 1.

    Found by descent from `d = 0`, so that the trade is never worse than to stay; NaN where no minimum is found. In a
    constant metric it solves the equation of the implicit Euler step. Where that has several solutions the two may
    differ: from a maximum the movement leaves, where a large implicit step is drawn in.

    Reference: L. Ambrosio, N. Gigli, G. Savare, "Gradient Flows in Metric Spaces" (2008), ch. 2.
    """
    flow, unravel, y = start.flow, unraveler(start.y), ravel(start.y)
    mass, inverse = metric_products(start.metric, start.y, start.args)
    h = start.h.astype(y.dtype)

    def loss_and_slope(d):
        value, covector = value_and_covector(flow.potential, start.moved(unravel(d)), start.args)
        return value.astype(y.dtype), ravel(covector)

    def merit(d):
        return h * flow.potential(start.moved(unravel(d)), start.args).astype(y.dtype) + d @ mass(d) / 2

    def residual(d):
        return d + inverse(h * loss_and_slope(d)[1])

    def correct(d):
        value, slope = loss_and_slope(d)
        held = mass(d)
        curvature = hessian_product(flow.potential, start.moved(unravel(d)), start.args)
        force = -h * slope - held
        # Far from the minimum a rough direction does; `d^T M d` is what has been reached by then.
        vector = _downhill(lambda p: mass(p) + h * curvature(p), inverse, force, d @ held)
        return Correction(vector, h * value + d @ held / 2, -(force @ vector))

    floor = jnp.finfo(y.dtype).eps ** 0.5 * jnp.linalg.norm(y)
    return unravel(newton(residual, jnp.zeros_like(y), floor, correct=correct, merit=merit))


def _downhill(operator: Product, inverse: Product, force: Flat, reached: Float[Array, ""]) -> Flat:
    """Newton's direction `operator^-1 force` by conjugate gradients, as exactly as its length deserves.

    At the first direction of negative curvature they stop: what they have by then leads downhill.

    Args:
        operator: products with the matrix of second derivatives, which may be indefinite.
        inverse: products with the inverse of the metric, which preconditions.
        force: the negative slope.
        reached: the square of the way so far, in the metric.

    Reference: J. Nocedal and S. J. Wright, "Numerical Optimization" (2006), algorithm 7.1.
    """
    z = inverse(force)
    squared = force @ z
    # As small a share of this force is left as this force is one of the way: that converges quadratically.
    share = squared / jnp.maximum(reached, squared)
    goal = jnp.clip(share, jnp.finfo(force.dtype).eps ** 1.5, 0.01) * squared

    def going(carry):
        return carry[-1]

    def step(carry):
        x, r, p, rz, steps, _ = carry
        ap = operator(p)
        bent = p @ ap
        curved = bent > 0
        alpha = jnp.where(curved, rz / jnp.where(curved, bent, 1), 0)
        x, r = x + alpha * p, r - alpha * ap
        z = inverse(r)
        after = r @ z
        return x, r, z + (after / rz) * p, after, steps + 1, curved & (after > goal) & (steps < 2 * force.size + 10)

    x, *_ = jax.lax.while_loop(going, step, (jnp.zeros_like(force), force, z, squared, 0, squared > 0))
    return jnp.where(jnp.any(x != 0), x, z)
