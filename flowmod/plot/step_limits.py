"""The largest stable step along a run, and which step sizes stay below it."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ._axes import axes_or_new
from ._palette import INK, LINES
from ._series import legend_in_room, marks, scale_times, series_of, times_of

_MARGIN = 1.6


def step_limits(times: Any, limits: Any, *, step_sizes: Any = (), ax: Axes | None = None) -> Axes:
    """Draw the largest stable step of an explicit method along a run, with what lies above it shaded.

    A step below the smallest limit is stable all along the run. One that is shaded only at first may survive, because
    an oscillation that a loss damps later does no harm; one that ends in the shade won't settle. The limit is that of
    the linearised flow, so it warns and does not prove.

    Args:
        times: the times, (T,), as in `trajectory.ts`.
        limits: the largest stable step at each time, (T,), as `fm.step_limit(flow, trajectory)` returns them: infinite
            where every step is stable, zero where none is, and NaN where it is not known.
        step_sizes: steps that are meant to be taken, drawn as lines: blue where a line is below all limits, else
            dashed in orange.
        ax: where to draw; a new figure by default.

    Returns:
        The axes, logarithmic; the time axis is that of `potentials`.

    Raises:
        ValueError: if `limits` is not one number for each time, or one is negative, or a step size is not positive and
            finite.
    """
    times = times_of(times)
    limits = series_of("limits", limits, times)
    if (limits < 0).any():
        raise ValueError(
            f"`limits` must not be negative, got {np.nanmin(limits):g}: where every step is stable it is infinite, and "
            "where none is, zero."
        )
    known = np.where(np.isfinite(limits), limits, np.nan)
    sizes = np.atleast_1d(np.asarray(step_sizes, dtype=float))
    if sizes.ndim > 1 or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(f"`step_sizes` must be positive numbers, one for each line, got {step_sizes}.")

    ax = axes_or_new(ax)
    ax.set_yscale("log")
    ax.plot(
        times, np.where(known > 0, known, np.nan), color=INK, linewidth=1.4, label="largest stable step", **marks(times)
    )
    scale_times(ax, "flow time", times)
    ax.set_ylabel("step size")
    smallest = np.inf
    if np.isfinite(known).any():
        first = np.nanargmin(known)
        smallest = known[first]
        if smallest > 0:
            ax.plot(times[first], smallest, "o", color=INK, markersize=6, label=f"smallest, {smallest:.2g}")
    _draw_steps(ax, sizes, smallest)
    _shade_above(ax, times, known, sizes)
    legend_in_room(ax, "lower")
    return ax


def _draw_steps(ax: Axes, sizes: np.ndarray, smallest: float) -> None:
    for size in sizes:
        colour, dashes = (LINES[0], "-") if size <= smallest else (LINES[1], "--")
        ax.axhline(size, color=colour, linestyle=dashes, linewidth=1.0, label=f"_step {size:g}")
        ax.annotate(
            f"{size:g}",
            (1.0, size),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
            color=colour,
        )


def _shade_above(ax: Axes, times: np.ndarray, known: np.ndarray, sizes: np.ndarray) -> None:
    drawn = np.concatenate([known[known > 0], sizes])
    if not drawn.size:
        return
    low, high = drawn.min() / _MARGIN, drawn.max() * _MARGIN
    where = np.isfinite(known).tolist()
    shade = {"color": LINES[1], "alpha": 0.15, "linewidth": 0, "label": "unstable"}
    ax.fill_between(times, np.maximum(known, np.finfo(float).tiny), high, where=where, **shade)
    ax.set_ylim(low, high)
