"""The potentials of several runs: which flow descends faster, by its own time or by the clock."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..simulate import Trajectory
from ._runs import draw_runs, require_runs


def potentials(
    runs: Mapping[str, Trajectory], *, clock: Mapping[str, Any] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the potential of several runs, as the loss of trainings, on a logarithmic axis.

    Flow time has another meaning in every metric: doubling a metric halves its flow's speed. Against flow time compare
    the depth that runs reach and the shape of their descent; against a clock compare their speed.

    Args:
        runs: the runs by name, at most 18.
        clock: by the same names the wall time in s at which each saved time was reached, (T,); flow time by default.
        ax: where to draw; a new figure by default.

    Returns:
        The axes. The potential's axis is linear if a potential is negative somewhere. The time axis is linear up to
        the first saved time after zero, and logarithmic from there on.

    Raises:
        ValueError: if a run has no potential, the runs have different units, or `clock` has not one number for each
            saved time of each run.
    """
    require_runs(runs)
    for name, run in runs.items():
        if run.potential is None:
            raise ValueError(
                f"`runs[{name!r}]` has no potential, because its flow has none: give one, as in `fm.VectorField(fn, "
                "metric, potential)`, and run again."
            )
    every = np.concatenate([np.asarray(run.potential) for run in runs.values()])
    logarithmic = not (every < 0).any()

    def values(name: str, run: Trajectory) -> np.ndarray:
        del name
        values = np.asarray(run.potential)
        return np.where(values > 0, values, np.nan) if logarithmic else values

    return draw_runs(runs, values, ("potential", "potential"), clock, ax, "log" if logarithmic else "linear")
