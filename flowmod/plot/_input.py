"""What a picture is made of, or an error that says how to get it."""

from typing import Any

from ..flow import AbstractFlow
from ..simulate import Ensemble, Trajectory


def require_flow(flow: Any) -> None:
    if not isinstance(flow, AbstractFlow):
        raise ValueError(
            f"`flow` must be a flow, got {type(flow).__name__}. Wrap a potential as `fm.GradientFlow(potential)`, a "
            "right-hand side `fn(t, y, args)` as `fm.VectorField(fn)`."
        )


def require_trajectory(trajectory: Any) -> None:
    if not isinstance(trajectory, Trajectory):
        cure = ": draw one of its members, `ensemble[0]`" if isinstance(trajectory, Ensemble) else ""
        raise ValueError(f"`trajectory` must be a Trajectory, got {type(trajectory).__name__}{cure}.")
