"""How large a step may be: what a method bears, over the curvature of the potential or the spectrum of a field."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._tree import as_state, dtype_of, is_traced
from ..._typing import Args, State
from ...flow import AbstractFlow, GradientFlow, require_flow
from ...simulate import Ensemble, Trajectory
from ._characteristic import MOMENTUM_METHODS, characteristic
from ._field_limit import dense_jacobian, field_limit, require_finite
from ._states import states_of
from .bears import bears, require_method
from .leading_curvature import curvatures_along, leading_curvature

CURE = "Use double precision, or a better conditioned metric (a larger mass)."


def step_limit(
    flow: AbstractFlow,
    y: State | Trajectory,
    method: str = "euler",
    *,
    t: Any = 0.0,
    args: Args = None,
    momentum: float | None = None,
) -> Float[Array, ""] | Float[np.ndarray, " times"]:
    """The largest stable step of a discrete method, at a state or along a trajectory.

    For a gradient flow it is what the method bears over the largest eigenvalue of `M^-1 H`, `H`
    the matrix of plain second derivatives. At a critical point the flow's linearisation is exactly `-M^-1 H`, and a
    perturbation along the leading eigenvector decays just below the limit and grows just above. Elsewhere it is the
    limit that the curvature there would set: training often stays stable beyond the one at its start. Directions of
    negative curvature, in which the flow itself grows, set none.

    For any other flow, whatever it says of a potential, it is the largest step with which no eigenvalue of the
    Jacobian grows, for all smaller steps too: the eigenvalues are complex in general, and each ray of the complex plane
    has its own limit. With momentum the gradient is read as minus the field, `-M v`. A field that itself grows (an
    eigenvalue with a positive real part) is stable with no step, and the limit is zero; so it is for Euler and an
    undamped oscillation, of which RK4 bears some. Eigenvalues that are zero up to rounding set no limit.

    Args:
        flow: the flow.
        y: a state, or a `Trajectory` of this flow.
        method: as in `bears`: `"euler"` (gradient descent in the metric), `"geodesic"`, `"retraction"`, `"mirror"`,
            `"implicit_euler"`, `"minimizing_movement"`, `"heun"`, `"midpoint"`, `"ralston"`, `"bosh3"`, `"rk4"`,
            `"dopri5"`, `"tsit5"`, `"dopri8"`, and `"heavy_ball"`, `"nesterov"`, `"ema"` with a `momentum`.
        t: the time of a state, for a metric or a field that moves; a trajectory brings its own.
        args: handed to the flow.
        momentum: a number in [0, 1), for `"heavy_ball"`, `"nesterov"` and `"ema"` only.

    Returns:
        The step in the flow's unit of time, a scalar for a state, (T,) for a trajectory: infinite where no curvature is
        positive, and for implicit Euler, which is stable for every positive curvature (a saddle it damps wrongly if
        `h` times a negative curvature is below -2). The largest curvature is found from below, so that the limit is one
        from above. Along a trajectory and inside a JAX transformation NaN where it is not known.

    Raises:
        ValueError: if `method` or `momentum` is another, at a state where potential, metric or field are not finite or
            the potential has no curvature at all (piecewise linear, say), if the potential has no second derivatives,
            for a method with momentum and a flow with inertia, or, for all but gradient flows, for states of more than
            1000 numbers and inside JAX transformations.
        RuntimeError: if Lanczos did not converge at a state, with its residual and its products.

    Reference: E. Hairer and G. Wanner, "Solving Ordinary Differential Equations II" (1996), ch. IV.2; B. T. Polyak,
    "Some methods of speeding up the convergence of iteration methods" (1964).
    """
    require_method(method, momentum)
    require_flow(flow)
    if isinstance(y, Ensemble):
        raise ValueError("`y` must be a state or a Trajectory, got an Ensemble: take a member, `ensemble[0]`.")
    along = isinstance(y, Trajectory)
    y = y if along else as_state("y", y)
    if isinstance(flow, GradientFlow):
        if along:
            found = curvatures_along(flow, y, args)
            return _limits(bears(method, momentum), found.values, found.converged & (found.scales > 0))
        return _of_curvature(flow, y, t, args, bears(method, momentum))
    if method in MOMENTUM_METHODS and not _is_first_order(flow, y.ys if along else y):
        raise ValueError(
            f'`method="{method}"` is for flows of first order, got {type(flow).__name__}, which has momentum of its '
            "own: take the `fm.GradientFlow` of its potential."
        )
    polynomial = characteristic(method, momentum)
    if along:
        jacobians = (dense_jacobian(flow, time, state, args) for time, state in states_of(y))
        return np.array([field_limit(polynomial, jacobian, dtype_of(y.ys)) for jacobian in jacobians])
    jacobian = dense_jacobian(flow, t, y, args)
    require_finite(flow, jacobian)
    return jnp.asarray(field_limit(polynomial, jacobian, dtype_of(y)), dtype_of(y))


def _is_first_order(flow: AbstractFlow, y: State) -> bool:
    return jax.tree.structure(flow.position(y)) == jax.tree.structure(y)


def _of_curvature(flow: GradientFlow, y: State, t: Any, args: Args, q: float) -> Float[Array, ""]:
    mode = leading_curvature(flow, y, t=t, args=args)
    if not is_traced(mode):
        mode.require_converged(CURE)
        require_curvature(mode.value, mode.scale)
    return _limits(q, mode.value, mode.converged & (mode.scale > 0))


def require_curvature(value: Any, scale: Any) -> None:
    """Raise a `ValueError` where a curvature is not finite or all of them are zero."""
    if not np.isfinite(value):
        raise ValueError(
            f"`y` must be a state at which potential, second derivatives and metric are finite, and the curvature is "
            f"{value}: look for a division by zero or the logarithm of a negative number, or a metric that is none."
        )
    if scale == 0:
        raise ValueError(
            "`flow` must have a potential with curvature at `y`, and all its second derivatives are zero: it is linear "
            "there, or piecewise linear, and its kinks set limits that no derivative shows. Smooth it, or choose the "
            "step by hand."
        )


def _limits(q: float, curvature: Any, known: Any) -> Any:
    xp = jnp if is_traced(curvature) or isinstance(curvature, Array) else np
    positive = xp.where(curvature > 0, curvature, 1)
    limits = xp.where(curvature > 0, xp.asarray(q, curvature.dtype) / positive, xp.inf)
    return xp.where(known, limits, xp.nan)
