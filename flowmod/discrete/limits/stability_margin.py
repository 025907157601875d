"""How close to its limit a step is along a run."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from ..._tree import is_traced
from ..._typing import Args
from ...flow import AbstractFlow
from ...simulate import Trajectory
from .step_limit import step_limit


def stability_margin(
    flow: AbstractFlow,
    trajectory: Trajectory,
    step_size: Any,
    method: str = "euler",
    *,
    args: Args = None,
    momentum: float | None = None,
) -> Float[Array | np.ndarray, " times"]:
    """The step over its limit along a trajectory: `h lambda_max / bears`, for a gradient flow.

    Below one the step is stable in the linearisation there, above one a perturbation along the leading eigenvector
    grows. Training that hovers around one is at the edge of stability. The eigenvectors of each time are looked for
    from those of the time before.

    Args:
        flow: the flow.
        trajectory: a `Trajectory` of this flow, or of any other run in its state space.
        step_size: the step in the flow's unit of time, positive: a number, or one for each time of a schedule, (T,).
        method: as in `step_limit`.
        args: handed to the flow.
        momentum: as in `step_limit`.

    Returns:
        The margin, (T,), without unit: zero where every step is stable, infinite where none is, NaN where the limit is
        not known.

    Raises:
        ValueError: if `trajectory` is none, `step_size` is not positive and finite or has another shape, and as
            `step_limit` does.

    Reference: J. Cohen, S. Kaur, Y. Li, J. Z. Kolter, A. Talwalkar, "Gradient descent on neural networks typically
    occurs at the edge of stability" (2021).
    """
    if not isinstance(trajectory, Trajectory):
        raise ValueError(
            f"`trajectory` must be a Trajectory, as `fm.simulate` returns it, got {type(trajectory).__name__}. At a "
            "state the margin is `step_size / fm.step_limit(flow, y)`."
        )
    steps = _steps(step_size, len(trajectory))
    limits = step_limit(flow, trajectory, method, args=args, momentum=momentum)
    with np.errstate(divide="ignore"):
        return steps / limits


def _steps(step_size: Any, count: int) -> Any:
    if is_traced(step_size):
        return step_size
    try:
        steps = np.asarray(step_size)
    except ValueError:  # rows of different lengths
        steps = np.asarray(None)
    known = steps.dtype.kind in "iuf" and steps.shape in ((), (count,))
    if not (known and ((steps > 0) & np.isfinite(steps)).all()):
        raise ValueError(
            f"`step_size` must be a positive, finite number, the time of one update, or one for each of the {count} "
            f"times, got {step_size!r}."
        )
    return steps.astype(np.float64)
