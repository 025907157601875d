"""The flow that a discrete method really follows: the flow, and what a step adds to it in powers of the step size.

A step leads to `y + h v + ...`, a power series in `h`, and so does the flow; where they differ first, the modified
equation has its first term. Both series are directional derivatives, so that no method, no metric and no coordinates
need a formula of their own: of Euler's `v - (h/2) v'v`, too, the `Gamma` term of curved coordinates comes by itself.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._tree import dtype_of, floats, is_traced
from ..._typing import Args, Scalar, State, Vector
from ...flow import AbstractFlow, VectorField
from ._checks import require_first_order, require_method_for, require_one_step_size, require_order
from ._series import Field, Point, System, along, derivative_of_solution
from ._steps import METHODS


def modified_flow(flow: AbstractFlow, step_size: Any, order: int = 1, method: str = "euler") -> VectorField:
    """The flow that the steps of a method follow better than the flow that they are meant for, by powers of `h`.

    Up to a fixed time, a method of order `p` with the step size `h` is within `O(h^p)` of the flow, within
    `O(h^(p+1))` of the first modified flow and within `O(h^(p+2))` of the second. For Euler's method these are

        v - (h/2) v'v    and    v - (h/2) v'v + h^2 (v''(v, v) / 12 + v'v'v / 3),

    for implicit Euler the same with `-h`. The series does not converge: at a large step size more terms may be worse.

    The terms cost directional derivatives of the vector field up to the order `p + order`, and no array with more than
    one index. Each order triples the program: seconds to compile for a method of order 1, minutes for `"rk4"`.

    Args:
        flow: a first-order flow; its right-hand side may depend on time.
        step_size: the time `h` that one step takes, positive; it may be traced.
        order: how many terms, 1 or 2.
        method: a method of `fm.discretize` without momentum: `"euler"`, `"implicit_euler"`, `"heun"` and `"rk4"` for
            any flow; `"geodesic"` and `"retraction"` for one with a metric, `"mirror"` in a `fm.HessianMetric`,
            `"minimizing_movement"` for a `fm.GradientFlow`.

    Returns:
        A `fm.VectorField` with the metric, the potential and the units of `flow`. It does not descend the potential as
        steeply as `flow` does, so that its energy ledger stays open by `O(h^p)`.

    Raises:
        ValueError: if `flow` is second order or not what the method needs, or `step_size`, `order` or `method` is
            another.

    Example:
        ```python
        followed = fm.modified_flow(flow, 0.1)
        fm.simulate(followed, y0, t1=10.0)  # nearer to 100 steps of gradient descent than the flow is
        ```

    Reference: E. Hairer, C. Lubich, G. Wanner, "Geometric Numerical Integration" (2006), ch. IX.
    """
    require_first_order(flow)
    require_one_step_size(step_size)
    require_method_for(method, flow)
    require_order(order)
    field = ModifiedField(flow, jnp.asarray(step_size, None if is_traced(step_size) else float), order, method)
    return VectorField(field, flow.metric, flow.potential, units=dict(flow.units))


class ModifiedField(eqx.Module):
    """`v + h^p e` or, with the second term, `v + h^p e + h^(p+1) e2`, for a method of the order `p`."""

    flow: AbstractFlow
    step_size: Float[Array, ""]
    order: int = eqx.field(static=True)
    method: str = eqx.field(static=True)

    def __call__(self, t: Scalar, y: State, args: Args = None) -> Vector:
        chosen, system = METHODS[self.method], System(self.flow, y, args)
        point = jnp.asarray(t, dtype_of(y)), floats(y)
        _, velocity = system(point)
        for power, term in enumerate(defects(system, self.method)[: self.order], start=chosen.order):
            factor = (chosen.sign * self.step_size) ** power
            velocity = jax.tree.map(lambda v, d, c=factor: v + c.astype(v.dtype) * d, velocity, term(point)[1])
        return velocity


def defects(system: System, method: str) -> tuple[Field, Field]:
    """The coefficients of `h^p` and of `h^(p+1)` in a modified equation, fields of points."""
    chosen = METHODS[method]

    def local(count: int) -> Field:
        """What a step has in the `count`-th power of `h` more than the flow."""

        def at(point: Point) -> Point:
            pair = chosen.derivative(system, count)(point), derivative_of_solution(system, count)(point)
            return jax.tree.map(lambda step, flow: (step - flow) / math.factorial(count), *pair)

        return at

    first = local(chosen.order + 1)

    def second(point: Point) -> Point:
        # The first term changes along the flow and the flow along it: a step of the modified flow has half of both.
        parts = local(chosen.order + 2)(point), along(first, system)(point), along(system, first)(point)
        return jax.tree.map(lambda whole, a, b: whole - (a + b) / 2, *parts)

    return first, second
