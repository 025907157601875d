"""The contraction rate along a run."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..simulate import Trajectory
from ._axes import axes_or_new, rate_label, time_label
from ._input import require_trajectory
from ._palette import INK, LINES


def rate(trajectory: Trajectory, rates: Any, *, ax: Axes | None = None) -> Axes:
    """Draw contraction rates against time, with the times shaded at which neighbours may part.

    Args:
        trajectory: the run.
        rates: its rates, (T,) in 1/time, from `fm.contraction_rate(flow, trajectory)`.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: if `rates` is not one number for each time of the trajectory.
    """
    require_trajectory(trajectory)
    times, rates = np.asarray(trajectory.ts), np.asarray(rates)
    if rates.shape != times.shape:
        raise ValueError(
            f"`rates` must be one number for each of the {len(times)} times, got shape {rates.shape}: use "
            "`fm.contraction_rate(flow, trajectory)`."
        )
    ax = axes_or_new(ax)
    ax.axhline(0.0, color=INK, linewidth=0.8)
    negative = rates < 0
    if negative.any():
        label = "not contracting"
        shade = {"color": LINES[1], "alpha": 0.3, "linewidth": 0, "label": label}
        ax.fill_between(times, rates, 0.0, where=negative.tolist(), interpolate=True, **shade)
    ax.plot(times, rates, color=LINES[0], linewidth=1.4, label="contraction rate")
    ax.set(xlabel=time_label(trajectory.units), ylabel=rate_label(trajectory.units))
    ax.margins(x=0)
    return ax
