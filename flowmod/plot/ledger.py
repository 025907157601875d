"""The energy ledger of a run: what was lost, what was dissipated, and how far they differ."""

import numpy as np
from matplotlib.axes import Axes

from ..simulate import Trajectory
from ._axes import axes_or_new, time_label, with_unit
from ._input import require_trajectory
from ._palette import LINES, MUTED


def ledger(trajectory: Trajectory, *, ax: Axes | None = None) -> Axes:
    """Draw the energy lost and the energy dissipated against time, and their imbalance on an axis of its own.

    Args:
        trajectory: a run of a flow that has a potential.
        ax: where to draw; a new figure by default.

    Returns:
        The axes of the energies. The imbalance, `|trajectory.ledger|` on a logarithmic axis, is `ax.figure.axes[-1]`;
        where it is exactly zero, as at the start, it has no point.

    Raises:
        ValueError: if the trajectory has no ledger.
    """
    require_trajectory(trajectory)
    if trajectory.ledger is None:
        raise ValueError(
            "`trajectory` has no ledger, because its flow has no potential: give one, as in `fm.VectorField(fn, "
            "metric, potential)`, and run again."
        )
    times, energy, dissipated = (np.asarray(x) for x in (trajectory.ts, trajectory.energy, trajectory.dissipated))
    imbalance = np.abs(np.asarray(trajectory.ledger))

    ax = axes_or_new(ax)
    ax.plot(times, energy[0] - energy, color=LINES[0], linewidth=2.6, alpha=0.6, label="lost")
    ax.plot(times, dissipated - dissipated[0], color=LINES[1], linewidth=1.2, linestyle="--", label="dissipated")
    ax.set(xlabel=time_label(trajectory.units), ylabel=with_unit("energy", dict(trajectory.units).get("potential")))
    beside = ax.twinx()
    beside.plot(times, np.where(imbalance > 0, imbalance, np.nan), color=MUTED, linewidth=1.0, marker=".", markersize=2)
    beside.set_yscale("log")
    beside.set_ylabel("imbalance / energy lost", color=MUTED)
    beside.tick_params(axis="y", which="both", colors=MUTED)
    ax.set_xlim(times[0], times[-1])
    ax.legend(loc="center right", frameon=False)
    return ax
