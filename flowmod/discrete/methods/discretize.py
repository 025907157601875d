"""A flow as an optimizer: one step of an integrator is one update."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ..._tree import as_state, combine, dtype_of, floats
from ..._typing import Args, Covector, Potential, State, Vector
from ...flow import GradientFlow, InertialFlow
from ._checks import require_flow_for, require_method, require_momentum, require_step_size
from ._start import Start, zero_like
from .euler import euler
from .geodesic import geodesic_euler
from .heavy_ball import heavy_ball
from .implicit_euler import implicit_euler
from .minimizing_movement import minimizing_movement
from .mirror import mirror
from .nesterov import nesterov
from .retraction import retracted_euler
from .runge_kutta import heun, rk4

_ONE_STEP: dict[str, Callable[[Start], Vector]] = {
    "euler": euler,
    "heun": heun,
    "rk4": rk4,
    "implicit_euler": implicit_euler,
    "minimizing_movement": minimizing_movement,
    "geodesic": geodesic_euler,
    "retraction": retracted_euler,
    "mirror": mirror,
}

_WITH_MOMENTUM: dict[str, Callable[[Start, Vector, Any], tuple[Vector, Vector]]] = {
    "heavy_ball": heavy_ball,
    "nesterov": nesterov,
}


class DiscretizationState(NamedTuple):
    """The state of a discretised flow.

    Attributes:
        count: how many updates there have been.
        t: the time, the sum of their step sizes.
        last: with momentum the last update, or the velocity of an inertial flow, zero at first; else `None`.
    """

    count: Int[Array, ""]
    t: Float[Array, ""]
    last: Vector | None


class Discretization(optax.GradientTransformationExtraArgs):
    """What `discretize` makes: an optax transformation that knows where it comes from.

    Attributes:
        flow: the flow.
        step_size: the step size, or its schedule.
        method: the integrator's name.
        args: what the flow is handed.
        momentum: what is kept of the last step; `None` where the method has no momentum, or the flow a friction.
    """

    flow: GradientFlow | InertialFlow
    step_size: Any
    method: str
    args: Args
    momentum: Any


def discretize(
    flow: GradientFlow | InertialFlow, step_size: Any, method: str = "euler", args: Args = None, momentum: Any = None
) -> Discretization:
    """A flow as an optax optimizer, whose updates are the steps of an integrator.

    - `"euler"`: `-h M(y)^-1 g`, which is gradient, natural gradient or layerwise descent, as the metric has it;
    - `"heun"` (order 2) and `"rk4"` (order 4): explicit Runge-Kutta steps;
    - `"implicit_euler"`: the proximal step `h v(y+)`, stable for every positive curvature;
    - `"minimizing_movement"`: the minimum of `f(y + d) + d^T M(y) d / (2 h)`, which never lies higher than `f(y)`;
    - `"geodesic"`: Euler's step along `fm.exp_map`, the same in all coordinates;
    - `"retraction"`: Euler's step along `fm.retraction`, which follows the geodesic up to third order for one solve;
    - `"mirror"`: Euler's step in the dual coordinates of a `fm.HessianMetric`, mirror descent;
    - `"heavy_ball"`: `-h M(y)^-1 g + momentum (y - y-)`;
    - `"nesterov"`: the same with metric and gradient at `y + momentum (y - y-)`.

    `"euler"`, `"geodesic"`, `"retraction"`, `"mirror"` and `"heavy_ball"` take the gradients that they are given, so
    that these may come from a batch or from another transformation of the chain. The others need gradients at points of
    their own, and look at none that they are given. `update(..., args=batch)` brings the batch for metric and
    potential; `update(..., value_fn=loss)`, as line searches take it, a function of the parameters that stands for the
    potential.

    An `fm.InertialFlow` has the two methods with momentum: it is their continuous limit. The parameters are its
    position and the step size `s` is its own time. With the damping `gamma M` and a constant metric heavy ball is
    `y+ = y - s^2 M^-1 g + (1 - gamma s)(y - y-)`, and iterate `n`, from rest, is the flow at the time `n s` to order 1.

    Only these two are optimizers: a vector field knows nothing of gradients, and `fm.simulate` runs it.

    Args:
        flow: the gradient flow, or inertial flow.
        step_size: the time `h` that one update takes, positive; it may be traced, or an optax schedule, a function of
            the number of updates before. A moving metric is that of the time in the state, the sum of the steps.
        method: one of the list above.
        args: handed to the flow's potential and metric, where `update` brings no `args` of its own.
        momentum: what is kept of the last step, in [0, 1), for `"heavy_ball"` and `"nesterov"` of a gradient flow.

    Returns:
        An optax transformation with the state `DiscretizationState`. Its updates, which are *added*, are trees like the
        float leaves of the parameters: `optax.apply_updates` takes them, and `equinox.apply_updates` for an Equinox
        module that has other leaves too. `update(..., static=tree)` brings the other leaves where `params` has `None`,
        as in a chain with transformations that admit float arrays only. Where an implicit step or a geodesic is not
        found, or a schedule's or traced step size not positive, the updates are NaN.

    Raises:
        ValueError: if `flow`, `step_size` or `momentum` is not what the method needs, or it is unknown; by `update` if
            the parameters are missing or no float arrays, or the gradients unlike them.

    Example:
        ```python
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), fm.discretize(flow, 0.1))
        updates, state = optimizer.update(gradients, state, params)
        ```

    Reference: E. Hairer, C. Lubich, G. Wanner, "Geometric Numerical Integration" (2006).
    """
    with_momentum = tuple(_WITH_MOMENTUM)
    require_method(method, (*_ONE_STEP, *with_momentum))
    require_flow_for(method, flow, with_momentum)
    require_step_size(step_size)
    require_momentum(momentum, method, flow, with_momentum)
    step, own_args = _step(method, momentum), args

    def init(params: State) -> Any:
        last = zero_like(params) if method in _WITH_MOMENTUM else None
        return DiscretizationState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.result_type(float)), last)

    def update(
        updates: Covector,
        state: Any,
        params: State | None = None,
        *,
        args: Args = None,
        value_fn: Callable | None = None,
        static: Any = None,
        **extra: Any,
    ) -> Any:
        del extra  # values and functions for other transformations of a chain
        if params is None:
            raise ValueError(
                "`params` must be given, because the metric depends on them: `update(grads, state, params)`."
            )
        y = as_state("params", params if static is None else eqx.combine(params, static))
        h = _size_at(step_size, state.count).astype(dtype_of(y))
        here = flow if value_fn is None else _descending(flow, _loss(value_fn, params))
        start = Start(here, state.t.astype(h.dtype), h, y, updates, own_args if args is None else args)
        made, last = step(start, state.last)
        return made, DiscretizationState(state.count + 1, state.t + h.astype(state.t.dtype), last)

    made = Discretization(init, update)
    made.flow, made.step_size, made.method, made.args, made.momentum = flow, step_size, method, args, momentum
    update.discretization = made  # a chain keeps the functions only  # pyright: ignore[reportFunctionMemberAccess]
    return made


def _step(method: str, momentum: Any) -> Callable[[Start, Any], tuple[Vector, Any]]:
    """The method as a function of the start and of what is remembered."""
    if method in _ONE_STEP:
        return lambda start, last: (_ONE_STEP[method](start), None)
    kept = None if momentum is None else jnp.asarray(momentum)
    return lambda start, last: _WITH_MOMENTUM[method](start, last, kept)


def _size_at(step_size: Any, count: Int[Array, ""]) -> Float[Array, ""]:
    size = jnp.asarray(step_size(count) if callable(step_size) else step_size)
    if size.shape != ():
        raise ValueError(f"`step_size` must be a schedule of scalars, got an array of shape {size.shape}.")
    return jnp.where(size > 0, size, jnp.nan)  # a traced one can't be refused


def _loss(value_fn: Callable, params: State) -> Potential:
    """The function that a line search is given, which knows the parameters as `update` was given them."""
    return lambda y, args: value_fn(combine(floats(y), params))


def _descending(flow: GradientFlow | InertialFlow, potential: Potential) -> GradientFlow | InertialFlow:
    if isinstance(flow, InertialFlow):
        return InertialFlow(potential, flow.metric, flow.damping)
    return GradientFlow(potential, flow.metric)
