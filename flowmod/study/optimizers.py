"""The optimizers that the command knows by name: each makes, for a flow, a function of the step size."""

from collections.abc import Callable
from functools import partial
from typing import Any

import optax

from ..discrete import discretize
from ..flow import GradientFlow

_MOMENTUM = 0.9
# Momentum multiplies a steady step by 1/(1 - momentum): without that factor its time would run ten times as fast.


def _discretised(method: str, flow: Any, momentum: float | None = None) -> Callable:
    def make(step_size: Any) -> optax.GradientTransformation:
        # A model may integrate its plain right-hand side, and know its potential and metric beside it.
        descent = flow if isinstance(flow, GradientFlow) else GradientFlow(flow.potential, flow.metric)
        return discretize(descent, (1 - (momentum or 0)) * step_size, method, momentum=momentum)

    return make


def _alone(make: Callable, flow: Any) -> Callable:
    del flow
    return make


def _momentum(step_size: Any) -> optax.GradientTransformation:
    return optax.sgd((1 - _MOMENTUM) * step_size, momentum=_MOMENTUM)


_METHODS = ("euler", "heun", "rk4", "implicit_euler", "minimizing_movement", "geodesic", "retraction", "mirror")

OPTIMIZERS: dict[str, Callable[[Any], Callable]] = {
    **{method: partial(_discretised, method) for method in _METHODS},
    **{method: partial(_discretised, method, momentum=_MOMENTUM) for method in ("heavy_ball", "nesterov")},
    "sgd": partial(_alone, optax.sgd),
    "momentum": partial(_alone, _momentum),
    "adam": partial(_alone, optax.adam),
}
"""Discretisations of `-M^-1 grad f` in the flow's own metric, then optax's, which know its potential only."""
