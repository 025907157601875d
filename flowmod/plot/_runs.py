"""One number of each of several runs, against their flow time or against a clock."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..simulate import Ensemble, Trajectory
from ._axes import axes_or_new, with_unit
from ._series import draw_lines, require_lines, scale_times, series_of, times_of


def require_runs(runs: Any) -> None:
    if not isinstance(runs, Mapping):
        raise ValueError(
            f'`runs` must be a mapping from names to trajectories, as in {{"Euclidean": run}}, got '
            f"{type(runs).__name__}."
        )
    require_lines("runs", runs)
    for name, run in runs.items():
        if not isinstance(run, Trajectory):
            cure = ": draw one of its members, `ensemble[0]`" if isinstance(run, Ensemble) else ""
            raise ValueError(f"`runs[{name!r}]` must be a Trajectory, got {type(run).__name__}{cure}.")


def draw_runs(
    runs: Mapping[str, Trajectory],
    values_of: Callable[[str, Trajectory], Any],
    quantity: tuple[str, str],
    clock: Mapping[str, Any] | None,
    ax: Axes | None,
    scale: str = "linear",
) -> Axes:
    """Draw a number of each run, (T,).

    Args:
        runs: the runs by name.
        values_of: the numbers of a run, from its name and itself.
        quantity: what the number is, and the label of its unit in `trajectory.units`.
        clock: seconds (T,) at each saved time of each run; flow time by default.
        ax: where to draw; a new figure by default.
        scale: of the numbers' axis.

    Raises:
        ValueError: if the runs have different units, or the clock is not one of them all.
    """
    title, key = quantity
    ylabel = with_unit(title, _unit(runs, key))
    times = {name: times_of(run.ts) for name, run in runs.items()}
    values = {name: np.asarray(values_of(name, run), dtype=float) for name, run in runs.items()}
    if clock is None:
        xlabel = with_unit("flow time", _unit(runs, "time"))
    else:
        xlabel, times = "wall time (s)", _seconds(clock, times)
    # An infinite number, as a run that blew up has, is no place on any axis.
    lines = {name: (times[name], np.where(np.isfinite(y), y, np.nan)) for name, y in values.items()}

    ax = axes_or_new(ax)
    ax.set_yscale(scale)  # matplotlib refuses to make an axis logarithmic on which nothing can be drawn
    draw_lines(ax, lines)
    scale_times(ax, xlabel, *times.values())
    ax.set_ylabel(ylabel)
    return ax


def _unit(runs: Mapping[str, Trajectory], key: str) -> str | None:
    units = {name: dict(run.units).get(key) or "1" for name, run in runs.items()}
    if len(set(units.values())) > 1:
        raise ValueError(f"`runs` must have the same unit of `{key}` to share an axis, got {units}: draw them apart.")
    return next(iter(units.values()))


def _seconds(clock: Mapping[str, Any], times: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    missing = [name for name in times if name not in clock]
    if missing:
        raise ValueError(f"`clock` must have the seconds of every run, and has none of {missing}: it has {[*clock]}.")
    return {name: series_of(f"clock[{name!r}]", clock[name], ts) for name, ts in times.items()}
