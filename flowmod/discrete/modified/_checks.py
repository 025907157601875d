"""What has a modified equation."""

from typing import Any

import numpy as np

from ...flow import GradientFlow, InertialFlow, require_flow
from ..methods._checks import require_method, require_step_size
from ._steps import METHODS


def require_first_order(flow: Any) -> None:
    require_flow(flow)
    if isinstance(flow, InertialFlow):
        raise ValueError(
            "`flow` must be of first order, got InertialFlow: take its right-hand side as one, "
            "`fm.VectorField(flow.vector_field)`, whose state is the pair of position and velocity."
        )


def require_gradient_flow(flow: Any) -> None:
    require_first_order(flow)
    if not isinstance(flow, GradientFlow):
        raise ValueError(
            f"`flow` must be a gradient flow, got {type(flow).__name__}, which need not descend its potential: "
            "of `limit = fm.flow_of(optimizer, potential)` take `limit.flow`; `fm.modified_flow` takes any flow."
        )


def require_order(order: Any) -> None:
    if isinstance(order, bool) or not isinstance(order, int | np.integer) or order not in (1, 2):
        raise ValueError(f"`order` must be 1 or 2, the number of terms added to the flow, got {order!r}.")


def require_one_step_size(step_size: Any) -> None:
    if callable(step_size):
        raise ValueError(f"`step_size` must be a number, got the schedule {step_size!r}: each has a flow of its own.")
    require_step_size(step_size)


def require_method_for(method: Any, flow: Any) -> None:
    """A known method, and a flow that has what it needs."""
    require_method(method, tuple(METHODS))
    chosen = METHODS[method]
    if not isinstance(flow, chosen.flow):
        raise ValueError(
            f'`method="{method}"` needs a `fm.{chosen.flow.__name__}`, got {type(flow).__name__}: any flow has "euler" '
            'and "implicit_euler".'
        )
    if not isinstance(flow.metric, chosen.metric):
        raise ValueError(
            f'`method="{method}"` needs a flow whose metric is a `fm.{chosen.metric.__name__}`, got '
            f'{type(flow.metric).__name__}: give it one as `metric=`, or use "euler", whose steps need none.'
        )
