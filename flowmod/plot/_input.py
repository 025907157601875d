"""What a picture is made of, or an error that says how to get it."""

from typing import Any

from ..simulate import Ensemble, Trajectory


def require_trajectory(trajectory: Any) -> None:
    if not isinstance(trajectory, Trajectory):
        cure = ": draw one of its members, `ensemble[0]`" if isinstance(trajectory, Ensemble) else ""
        raise ValueError(f"`trajectory` must be a Trajectory, got {type(trajectory).__name__}{cure}.")
