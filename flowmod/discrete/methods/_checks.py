"""What can be discretised, and by which method."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._tree import is_traced
from ...flow import AbstractFlow, GradientFlow, InertialFlow, require_flow
from ...metric import HessianMetric


def require_method(method: Any, known: tuple[str, ...]) -> None:
    if method not in known:
        raise ValueError(f"`method` must be one of {', '.join(map(repr, known))}, got {method!r}.")


def require_flow_for(method: str, flow: Any, with_momentum: tuple[str, ...]) -> None:
    require_flow(flow)
    if not isinstance(flow, GradientFlow | InertialFlow):
        raise ValueError(
            f"`flow` must be a gradient flow, got {type(flow).__name__}: an optimizer is the discretisation of "
            f"`fm.GradientFlow(potential, metric)`{_who_knows_its_own(flow)}. Run any other flow with `fm.simulate`."
        )
    if isinstance(flow, InertialFlow) and method not in with_momentum:
        raise ValueError(
            f"`flow` is an `fm.InertialFlow`, which has {' and '.join(map(repr, with_momentum))} for its methods, got "
            f"{method!r}: that one takes `fm.GradientFlow(flow.potential, flow.metric)`."
        )
    if method == "mirror" and not isinstance(flow.metric, HessianMetric):
        raise ValueError(
            "`flow` must have a `fm.HessianMetric(fn)`, whose dual coordinates the method 'mirror' steps in, got "
            f"{type(flow.metric).__name__}."
        )


def _who_knows_its_own(flow: AbstractFlow) -> str:
    known = flow.potential is not None and flow.metric is not None
    return ", and this one has both as `flow.potential` and `flow.metric`" if known else ""


def require_step_size(step_size: Any) -> None:
    if is_traced(step_size) or callable(step_size):
        return
    is_number = np.ndim(step_size) == 0 and _is_real(np.asarray(step_size).dtype)
    if not is_number or not 0 < float(step_size) < math.inf:
        raise ValueError(
            f"`step_size` must be a positive, finite number, the time of one update, or a schedule, got {step_size!r}."
        )


def require_momentum(momentum: Any, method: str, flow: AbstractFlow, with_momentum: tuple[str, ...]) -> None:
    if method not in with_momentum or isinstance(flow, InertialFlow):
        if momentum is not None:
            why = f"the method {method!r} has none" if method not in with_momentum else "its damping is the flow's own"
            raise ValueError(f"`momentum` must be left out, because {why}, got {momentum!r}.")
        return
    if momentum is None:
        raise ValueError(f'`method="{method}"` needs its `momentum=`, a number in [0, 1).')
    if is_traced(momentum):
        return
    is_number = np.ndim(momentum) == 0 and _is_real(np.asarray(momentum).dtype)
    if not is_number or not 0 <= float(momentum) < 1:
        raise ValueError(f"`momentum` must be a number in [0, 1), got {momentum!r}.")


def _is_real(dtype: np.dtype) -> bool:
    """Whether numbers are whole or floats, NumPy's or the short ones of JAX."""
    return jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)
