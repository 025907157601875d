"""How large a step may be: the curvature of the potential in the metric, against what a method bears."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._tree import as_state, dtype_of, is_traced, ravel, size, traced_numbers, unraveler
from ..._typing import Args, Potential, State
from ...flow import AbstractFlow, require_flow
from ...linalg import LeadingEigenpair, leading_eigenpair, random_start
from ...metric import AbstractMetric, hessian_product, metric_products

STABLE = {
    "euler": 2.0,
    "implicit_euler": math.inf,
    "heun": 2.0,
    "bosh3": 2.5127453266183286,
    "rk4": 2.785293563405282,
    "dopri5": 3.3065678926349467,
    "tsit5": 3.5068469938049476,
    "dopri8": 5.166633619968107,
}
"""The largest `q` for which `|R(-q)| <= 1` on all of (0, q), with `R` the method's stability polynomial."""

_MOMENTUM = {
    "heavy_ball": lambda beta: 2 * (1 + beta),
    "nesterov": lambda beta: 2 * (1 + beta) / (1 + 2 * beta),
}

_CURE = "Use double precision, or a better conditioned metric (a larger mass)."


def step_limit(
    flow: AbstractFlow,
    y: State,
    method: str = "euler",
    *,
    t: Any = 0.0,
    args: Args = None,
    momentum: Any = None,
) -> Float[Array, ""]:
    """The largest stable step of a discrete method: what it bears, over the largest eigenvalue of `M^-1 H`.

    `H` is the matrix of plain second derivatives of the potential. At a critical point the flow's linearisation is
    exactly `-M^-1 H`, and a perturbation along the leading eigenvector decays just below the limit and grows just
    above. Elsewhere it is the limit that the curvature there would set: training often stays stable beyond the one at
    its start.

    Args:
        flow: a first-order flow with a potential and a metric.
        y: the state.
        method: `"euler"` (gradient descent in the metric), `"implicit_euler"`, `"heun"`, `"bosh3"`, `"rk4"`,
            `"dopri5"`, `"tsit5"`, `"dopri8"`, `"heavy_ball"` (`y+ = y - h M^-1 grad f + momentum (y - y-)`) or
            `"nesterov"`.
        t: the time, for a metric that moves.
        args: handed to the potential and to the metric.
        momentum: a number in [0, 1), for `"heavy_ball"` and `"nesterov"` only.

    Returns:
        The step in the flow's unit of time, a scalar: infinite where no curvature is positive, and for
        `"implicit_euler"`, which is stable for every positive curvature (a negative one it damps wrongly if the step is
        large). NaN where potential or metric is, and, inside a JAX transformation, where Lanczos did not converge. The
        largest eigenvalue is found from below, so that the limit is one from above.

    Raises:
        ValueError: if the flow is second order or has no potential or metric, or `method` or `momentum` is another.
        RuntimeError: if Lanczos did not converge, with its residual and its products.

    Reference: E. Hairer and G. Wanner, "Solving Ordinary Differential Equations II" (1996), ch. IV.2; B. T. Polyak,
    "Some methods of speeding up the convergence of iteration methods" (1964).
    """
    bears = _bears(method, momentum)
    mode = leading_curvature(flow, y, t=t, args=args)
    if not is_traced(mode):
        mode.require_converged(_CURE)
    value = jnp.where(mode.converged, mode.value, jnp.nan)
    return jnp.where(value <= 0, jnp.inf, jnp.asarray(bears).astype(value.dtype) / value)


def leading_curvature(flow: AbstractFlow, y: State, *, t: Any = 0.0, args: Args = None) -> LeadingEigenpair:
    """The largest eigenvalue of `M^-1 H`, the curvature of a potential in the metric, and its eigenvector, by Lanczos.

    Args:
        flow: a first-order flow with a potential and a metric.
        y: the state.
        t: the time, for a metric that moves.
        args: handed to the potential and to the metric.

    Returns:
        A `flowmod.linalg.LeadingEigenpair` in 1/time: the eigenvalue, the direction (a tree like the float leaves of
        `y`, of length one in the metric), residual, scale, products, and whether it converged.

    Raises:
        ValueError: if the flow is second order or has no potential or metric.
    """
    require_flow(flow)
    if flow.potential is None or flow.metric is None:
        missing = "potential" if flow.potential is None else "metric"
        raise ValueError(
            f"`flow` must have a potential and a metric, and this {type(flow).__name__} has no {missing}: use a "
            f"`fm.GradientFlow`, or give it a `{missing}=`."
        )
    y = as_state("y", y)
    if jax.tree.structure(flow.position(y)) != jax.tree.structure(y):
        raise ValueError(
            f"`flow` must be first order, got {type(flow).__name__}: take the `fm.GradientFlow` of its potential, and "
            '`method="heavy_ball"` for one with inertia.'
        )
    operands = (flow.potential, flow.metric, y, traced_numbers(t), traced_numbers(args))
    return _curvature(*operands) if is_traced(operands) else _curvature_at_state(*operands)


def _curvature(potential: Potential, metric: AbstractMetric, y: State, t: Any, args: Args) -> LeadingEigenpair:
    products = hessian_product(potential, y, args), *metric_products(metric.at(t), y, args)
    mode = leading_eigenpair(*products, random_start(size(y), ravel(y).dtype), precision=dtype_of(y))
    return mode._replace(vector=unraveler(y)(mode.vector))


_curvature_at_state = eqx.filter_jit(_curvature)


def _bears(method: str, momentum: Any):
    if method in STABLE:
        if momentum is not None:
            raise ValueError(f'`momentum` is for "heavy_ball" and "nesterov", got {momentum!r} with "{method}".')
        return STABLE[method]
    if method not in _MOMENTUM:
        known = ", ".join(f'"{name}"' for name in (*STABLE, *_MOMENTUM))
        raise ValueError(f"`method` must be one of {known}, got {method!r}.")
    if momentum is None:
        raise ValueError(f'`method="{method}"` needs its `momentum=`, a number in [0, 1).')
    if not is_traced(momentum) and not _is_fraction(momentum):
        raise ValueError(f"`momentum` must be a number in [0, 1), got {momentum!r}.")
    return _MOMENTUM[method](momentum)


def _is_fraction(number: Any) -> bool:
    try:
        return bool(np.ndim(number) == 0 and 0 <= number < 1)
    except TypeError:
        return False
