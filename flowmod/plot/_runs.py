"""One run, or an error that says how to get one."""

from typing import Any

from ..simulate import Ensemble, Trajectory


def require_trajectory(trajectory: Any) -> None:
    if isinstance(trajectory, Trajectory):
        return
    cure = ": draw one of its members, `ensemble[0]`" if isinstance(trajectory, Ensemble) else ""
    raise ValueError(f"`trajectory` must be a Trajectory, got {type(trajectory).__name__}{cure}.")
