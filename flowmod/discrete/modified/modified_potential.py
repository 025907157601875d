"""The loss that a discrete method really descends: the potential and a penalty on its slope."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._tree import dot, is_traced
from ..._typing import Args, Potential, State
from ...flow import GradientFlow
from ...metric import AbstractMetric, BlockMetric, ConstantMetric, Euclidean, steepest_descent
from ..methods._checks import require_method
from ._checks import require_gradient_flow, require_one_step_size

SIGNS = {
    "euler": 1,
    "implicit_euler": -1,
    "minimizing_movement": -1,
    "geodesic": 1,
    "retraction": 1,
    "mirror": 1,
}
"""Whether a method's steps penalise the slope of the loss or favour it; those of higher order do neither."""

_STRAIGHT = ("euler", "implicit_euler", "minimizing_movement")
_INTRINSIC = ("geodesic", "retraction")


def modified_potential(flow: GradientFlow, step_size: Any, method: str = "euler") -> Potential:
    """The modified loss `f + (h/4) |grad f|_M^2`, whose gradient flow is the first modified flow of a method.

    `|grad f|_M^2 = grad f^T M^-1 grad f` is the squared slope in the metric: gradient descent with a finite step
    prefers flat places, an implicit step (minus) steep ones. The loss exists for straight steps in a metric that is the
    same everywhere, and for steps along geodesics in any metric that does not move. For straight steps in a metric that
    depends on the state the first modified flow has the term `(h/2) Gamma(v, v)` of the coordinates too, which is no
    gradient in general: a loss without it is no nearer to the iterates than the flow. In special cases, as in one
    dimension, some other loss exists; none is looked for.

    Args:
        flow: the gradient flow.
        step_size: the time `h` that one step takes, positive; it may be traced.
        method: `"euler"`, `"implicit_euler"` or `"minimizing_movement"`, whose steps are straight, `"geodesic"` or
            `"retraction"`.

    Returns:
        A potential `f(y, args)`: `fm.GradientFlow(potential, flow.metric)` is the first modified flow.

    Raises:
        ValueError: if `flow` is no gradient flow, `step_size` is no positive number, `method` is another, or no such
            loss is known.

    Reference: D. G. T. Barrett and B. Dherin, "Implicit Gradient Regularization" (2021), for the Euclidean metric.
    """
    require_gradient_flow(flow)
    require_one_step_size(step_size)
    require_method(method, (*_STRAIGHT, *_INTRINSIC))
    if not has_modified_loss(flow.metric, method):
        raise ValueError(
            f'`method="{method}"` has no known modified loss in a {type(flow.metric).__name__}, which may depend on '
            "the state or on time: use `fm.modified_flow`, which keeps what is no gradient. A metric that is the same "
            'everywhere is a `fm.ConstantMetric(matrix)`, and in one that does not move "geodesic" has a loss.'
        )
    step_size = jnp.asarray(step_size, None if is_traced(step_size) else float)
    return ModifiedPotential(flow, SIGNS[method] * step_size)


class ModifiedPotential(eqx.Module):
    """`f + (h/4) |grad f|_M^2`."""

    flow: GradientFlow
    step_size: Float[Array, ""]

    def __call__(self, y: State, args: Args = None) -> Float[Array, ""]:
        value, covector, vector = steepest_descent(self.flow.potential, self.flow.metric, y, args)
        return value - (self.step_size / 4).astype(value.dtype) * dot(covector, vector).astype(value.dtype)


def has_modified_loss(metric: AbstractMetric, method: str) -> bool:
    """Whether the first modified flow of a gradient flow in this metric is known to be a gradient flow."""
    if method in _INTRINSIC:
        return all(part.at(0.0) is part for part in _parts(metric))
    return method in _STRAIGHT and all(isinstance(part, Euclidean | ConstantMetric) for part in _parts(metric))


def _parts(metric: AbstractMetric) -> list[AbstractMetric]:
    """The metrics of the blocks, and of the blocks of these; a metric of no blocks is its own only part."""
    if not isinstance(metric, BlockMetric):
        return [metric]
    blocks = metric.metrics.values() if isinstance(metric.metrics, dict) else metric.metrics
    return [part for block in blocks for part in _parts(block)]
