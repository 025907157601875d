"""A gradient flow as an optimizer: one step of an integrator is one update."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from ..._tree import dtype_of, floats, is_traced
from ..._typing import Args, Covector, State, Vector
from ...flow import GradientFlow, require_flow
from ...metric import sharp_of_given


class Clock(NamedTuple):
    """The state of a discretised flow: how many steps it has taken."""

    count: Int[Array, ""]


class Discretization(optax.GradientTransformationExtraArgs):
    """What `discretize` makes: an optax transformation that knows where it comes from.

    Attributes:
        flow: the flow.
        method: the integrator's name.
        args: what the flow is handed.
    """

    flow: GradientFlow
    method: str
    args: Args


def discretize(flow: GradientFlow, step_size: Any, method: str = "euler", args: Args = None) -> Discretization:
    """A gradient flow as an optax optimizer that takes the steps of an explicit integrator.

    Euler's step is `-h M(y)^-1 g` with the gradients that it is given, so that they may come from a batch or from
    another transformation of the chain: gradient descent, natural gradient descent or the layerwise step, as the
    metric has it. Heun's step evaluates the flow itself, at the parameters and where Euler's step leads, and looks at
    no gradient that it is given. The state counts the steps: a moving metric is that of the time `n h`.

    Only gradient flows are optimizers: a vector field knows nothing of gradients, and `fm.simulate` runs it.

    Args:
        flow: the gradient flow.
        step_size: the time `h` that one update takes, positive; it may be traced.
        method: `"euler"` (order 1) or `"heun"` (order 2).
        args: handed to the flow's potential and metric.

    Returns:
        An optax transformation. Its updates, which are *added*, are trees like the float leaves of the parameters:
        `optax.apply_updates` takes them, and `equinox.apply_updates` for an Equinox module that has other leaves too.
        `update(..., static=tree)` brings the other leaves where `params` has `None`, as in a chain with
        transformations that admit float arrays only.

    Raises:
        ValueError: if `flow` is no gradient flow, `step_size` is no positive number or `method` is unknown.

    Example:
        ```python
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), fm.discretize(flow, 0.1))
        updates, state = optimizer.update(gradients, state, params)
        ```
    """
    _require_gradient_flow(flow)
    _check_step_size(step_size)
    if method not in _STEPS:
        raise ValueError(f"`method` must be {' or '.join(map(repr, _STEPS))}, got {method!r}.")
    step = _STEPS[method]

    def init(params: State) -> Clock:
        del params
        return Clock(jnp.zeros((), jnp.int32))

    def update(updates: Covector, state: Any, params: State | None = None, *, static: Any = None, **extra: Any):
        del extra  # values and functions for other transformations of a chain
        if params is None:
            raise ValueError(
                "`params` must be given, because the metric depends on them: `update(grads, state, params)`."
            )
        y = params if static is None else eqx.combine(params, static)
        h = jnp.asarray(step_size, dtype_of(y))
        t = state.count.astype(h.dtype) * h
        return step(flow, t, h, y, floats(updates), args), Clock(state.count + 1)

    made = Discretization(init, update)
    made.flow, made.method, made.args = flow, method, args
    return made


def _euler(flow: GradientFlow, t, h, y: State, gradients: Covector, args: Args) -> Vector:
    vector = sharp_of_given(flow.potential, flow.metric.at(t), y, gradients, args)
    return scaled(-h, vector, floats(y))


def _heun(flow: GradientFlow, t, h, y: State, gradients: Covector, args: Args) -> Vector:
    del gradients
    here = flow.vector_field(t, y, args)
    there = flow.vector_field(t + h, eqx.apply_updates(y, scaled(h, here, here)), args)
    return scaled(h / 2, jax.tree.map(jnp.add, here, there), here)


_STEPS = {"euler": _euler, "heun": _heun}


def scaled(factor, vector: Vector, like: Vector) -> Vector:
    """A vector times a step size, in the precision of `like`."""
    return jax.tree.map(lambda leaf, wanted: factor.astype(wanted.dtype) * leaf.astype(wanted.dtype), vector, like)


def _require_gradient_flow(flow: Any) -> None:
    require_flow(flow)
    if not isinstance(flow, GradientFlow):
        raise ValueError(
            f"`flow` must be a gradient flow, got {type(flow).__name__}: an optimizer is the discretisation of "
            "`fm.GradientFlow(potential, metric)`. Run any other flow with `fm.simulate`."
        )


def _check_step_size(step_size: Any) -> None:
    if is_traced(step_size):
        return
    is_number = np.ndim(step_size) == 0 and np.asarray(step_size).dtype.kind in "iuf"
    if not is_number or not 0 < float(step_size) < math.inf:
        raise ValueError(f"`step_size` must be a positive, finite number, the time of one update, got {step_size!r}.")
