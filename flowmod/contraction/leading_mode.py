"""The direction in which neighbouring trajectories approach each other slowest, or part fastest, without matrices."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from .._tree import as_state, is_traced, traced_numbers, unraveler
from .._typing import Args, State
from ..flow import AbstractFlow, require_flow
from ..linalg import LeadingEigenpair
from ..metric import AbstractMetric, require_metric
from ._extremes import Subject, Wanted, extremes_at
from .jacobian import unless_own

CURE = (
    'Use `method="dense"` for up to some hundreds of numbers, double precision, or a better conditioned metric '
    "(a larger mass)."
)


def leading_mode(
    flow: AbstractFlow, y: State, t: Any = 0.0, args: Args = None, metric: AbstractMetric | None = None
) -> LeadingEigenpair:
    """The leading eigenpair of the pencil of a rate, by Lanczos: `value` is minus the contraction rate.

    Each step takes one product with `S` (derivatives of the vector field along a vector; none of a solve for a
    gradient flow in its own metric) and one solve, with the metric factored once. No matrix of the flow is formed.

    Args:
        flow: the flow.
        y: the state.
        t: the time.
        args: handed to the flow and to the metric.
        metric: the metric; the flow's own by default, else Euclidean.

    Returns:
        A `LeadingEigenpair` in 1/time: growth rate, direction (a tree like the float leaves of `y`, of length one in
        the metric), residual, scale, products, and whether it converged. NaN where the metric is none. A growth
        rate from finitely many products is too small if it is wrong, and so the rate too large: an estimate, no
        certificate.

    Raises:
        ValueError: if `flow` is no flow or `metric` no metric.
    """
    require_flow(flow)
    y = as_state("y", y)
    if metric is not None:
        require_metric("metric", metric)
    operands = (flow, traced_numbers(t), y, traced_numbers(args), unless_own(flow, metric))
    return mode_at(*operands) if is_traced(operands) else _mode_at_state(*operands)


def mode_at(flow: AbstractFlow, t: Any, y: State, args: Args, metric: AbstractMetric | None) -> LeadingEigenpair:
    """`leading_mode` of arguments that are checked."""
    mode = extremes_at(t, y, None, Subject(flow, args, metric, None), Wanted()).leading
    return mode._replace(vector=unraveler(y)(mode.vector))


_mode_at_state = eqx.filter_jit(mode_at)


def growth(mode: LeadingEigenpair):
    """The leading eigenvalue, NaN where it is not known well enough."""
    return jnp.where(mode.converged, mode.value, jnp.nan)
