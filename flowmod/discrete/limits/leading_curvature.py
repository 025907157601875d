"""The curvature of a potential in a metric: eigenvalues of `M^-1 H`, at a state or along a trajectory."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from ..._tree import as_state, combine, dtype_of, floats, is_float_array, is_traced, ravel, traced_numbers, unraveler
from ..._typing import Args, State
from ...flow import GradientFlow, require_flow
from ...linalg import Eigenpairs, LeadingEigenpair, extreme_eigenpairs, random_start, warm_start
from ...metric import hessian_product, metric_products
from ...simulate import Trajectory, carried_along

AS_GRADIENT_FLOW = (
    "if it does, make it `fm.GradientFlow(potential, metric)`, and of `limit = fm.flow_of(optimizer, potential)` take "
    "`limit.flow`"
)
"""What to do with a flow that has a curvature, but is not known as one that has."""


class Curvatures(NamedTuple):
    """Leading curvatures along a trajectory: arrays (T,)."""

    values: Float[Array | np.ndarray, " times"]
    scales: Float[Array | np.ndarray, " times"]
    converged: Bool[Array | np.ndarray, " times"]
    products: Any


def leading_curvature(flow: GradientFlow, y: State, *, t: Any = 0.0, args: Args = None) -> LeadingEigenpair:
    """The largest eigenvalue of `M^-1 H`, the curvature of a potential in the metric, and its eigenvector, by Lanczos.

    Args:
        flow: the gradient flow.
        y: the state.
        t: the time, for a metric that moves.
        args: handed to the potential and to the metric.

    Returns:
        A `flowmod.linalg.LeadingEigenpair` in 1/time: the eigenvalue, the direction (a tree like the float leaves of
        `y`, of length one in the metric), residual, scale, products, and whether it converged.

    Raises:
        ValueError: if the flow is no gradient flow, or its potential has no second derivatives.
    """
    y = as_state("y", y)
    require_descent(flow)
    operands = (flow, traced_numbers(t), y, traced_numbers(args))
    return _leading(*operands) if is_traced(operands) else _leading_at_state(*operands)


def curvatures_at(
    flow: GradientFlow,
    t: Any,
    y: State,
    args: Args,
    start: Float[Array, " n"] | None = None,
    smallest: int = 0,
    rtol: float | None = None,
) -> Eigenpairs:
    """The largest curvature and some of the smallest, from a start or from random numbers."""
    products = hessian_product(flow.potential, y, args), *metric_products(flow.metric.at(t), y, args)
    if start is None:
        start = random_start(ravel(y).size, ravel(y).dtype)
    return extreme_eigenpairs(*products, start, smallest=smallest, rtol=rtol, precision=dtype_of(y))


def curvatures_along(flow: GradientFlow, trajectory: Trajectory, args: Args = None) -> Curvatures:
    """The largest curvature at each time of a trajectory, each search begun with the eigenvector of the time before."""
    ys = floats(trajectory.ys)
    first = ravel(jax.tree.map(lambda leaf: leaf[:1].sum(0), ys))
    operands = flow, traced_numbers(args), eqx.filter(trajectory.ys, is_float_array, inverse=True)
    return carried_along(_next, _next_compiled, random_start(first.size, first.dtype), trajectory.ts, ys, operands)


def _next(start, t, y, operands):
    flow, args, rest = operands
    # The error of a value is the residual's square, over the gap: a curve of limits needs no more digits.
    rtol = 1e-5 if dtype_of(y).itemsize >= 8 else 1e-3
    pairs = curvatures_at(flow, t, combine(y, rest), args, start, rtol=rtol)
    found = pairs.leading
    return warm_start(pairs.vectors), Curvatures(found.value, found.scale, found.converged, found.products)


_next_compiled = eqx.filter_jit(_next)


def _leading(flow: GradientFlow, t: Any, y: State, args: Args) -> LeadingEigenpair:
    mode = curvatures_at(flow, t, y, args).leading
    return mode._replace(vector=unraveler(y)(mode.vector))


_leading_at_state = eqx.filter_jit(_leading)


def require_descent(flow: Any) -> None:
    """Raise a `ValueError` unless the flow descends a potential in a metric, by what it is and not by what it says."""
    require_flow(flow)
    if not isinstance(flow, GradientFlow):
        raise ValueError(
            f"`flow` must be a `fm.GradientFlow`, got {type(flow).__name__}, which need not descend a potential in a "
            f"metric: {AS_GRADIENT_FLOW}."
        )
