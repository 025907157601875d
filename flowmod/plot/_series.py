"""Numbers along a run: checked against its times, and drawn as lines that can be told apart.

Losses, rates and limits of a training change by decades in its first instants and hardly in its last: they are drawn
against a time axis that is linear from the start to about the first saved time after it, and logarithmic from there
on. A logarithmic one would lose the start, at time zero, and a linear one would show a corner.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from ._palette import DASHES, LINES, MOST_LINES, line_colour

_FEW = 20
"""Up to so many points each has a mark: between them nothing is known."""

_SMALLEST = 1e-5
"""Fractions of the largest: a mixed axis is linear below it, however small the smallest number is."""

_MIDDLE = 0.12
"""Fractions of the decades of a mixed axis: the room of its linear part, in which zero and its neighbour have ticks."""

_EDGE = 0.02
"""Fractions of the axes: the room beside the first and the last time, so that their marks are whole."""

_ROW = 0.1
"""Fractions of axes one column wide: the height of a line of a legend."""

_INSIDE = 4
"""Up to so many lines there is room for a legend between them."""


def times_of(times: Any) -> np.ndarray:
    """Times as an array (T,).

    Raises:
        ValueError: if they are not one axis of finite ascending numbers.
    """
    array = np.asarray(times, dtype=float)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"`times` must be an array (T,), got shape {array.shape}: use `trajectory.ts`.")
    if not (np.isfinite(array).all() and (np.diff(array) >= 0).all()):
        raise ValueError("`times` must be finite and ascend, and these do not: use `trajectory.ts`.")
    return array


def series_of(argument: str, values: Any, times: np.ndarray) -> np.ndarray:
    """One number for each time as an array (T,).

    Raises:
        ValueError: if the shape is another.
    """
    array = np.asarray(values, dtype=float)
    if array.shape != times.shape:
        raise ValueError(
            f"`{argument}` must be one number for each of the {len(times)} times, got shape {array.shape}."
        )
    return array


def on_log_axis(argument: str, values: np.ndarray) -> np.ndarray:
    """Values that a logarithmic axis can show: NaN where one is zero or not finite.

    Raises:
        ValueError: if one is negative.
    """
    if (values < 0).any():
        raise ValueError(f"`{argument}` must not be negative on a logarithmic axis, got {np.nanmin(values):g}.")
    return np.where((values > 0) & np.isfinite(values), values, np.nan)


def require_lines(argument: str, entries: Mapping[str, Any]) -> None:
    if not 0 < len(entries) <= MOST_LINES:
        raise ValueError(
            f"`{argument}` must have from 1 to {MOST_LINES} entries, the most lines that can be told apart, got "
            f"{len(entries)}: draw some of them."
        )


def draw_lines(ax: Axes, lines: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """One line for each name, of its times and its values, and a legend if there are two."""
    for index, (name, (times, values)) in enumerate(lines.items()):
        dashes = DASHES[index // len(LINES)]
        ax.plot(times, values, color=line_colour(index), linestyle=dashes, linewidth=1.4, label=name, **marks(times))
    if len(lines) > _INSIDE:
        beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.0}
        ax.legend(frameon=False, fontsize="small", labelspacing=0.1, **beside)
    elif len(lines) > 1:
        ax.legend(frameon=False)


def legend_in_room(ax: Axes, side: Literal["upper", "lower"]) -> None:
    """A legend at the `"upper"` or `"lower"` end of the vertical axis, which is made longer by its rows."""
    transform = ax.yaxis.get_transform()
    low, high = transform.transform(np.array(ax.get_ylim()))
    share = _ROW * len(ax.get_legend_handles_labels()[1])
    room = (high - low) * share / (1 - share)
    ends = (low - room, high) if side == "lower" else (low, high + room)
    ax.set_ylim(*transform.inverted().transform(np.array(ends)))
    ax.legend(frameon=False, loc="lower right" if side == "lower" else "upper right")


def marks(times: np.ndarray) -> dict[str, Any]:
    """Marks for the points of a line, if they are few."""
    return {"marker": "o", "markersize": 3} if len(times) <= _FEW else {}


def scale_times(ax: Axes, label: str, *times: np.ndarray) -> None:
    """The time axis from the first of all times to the last, with its label: linear where they span no decade."""
    every = np.concatenate(times)
    mixed = mixed_scale(every)
    if every.min() <= 0 and mixed:
        ax.set_xscale("symlog", **mixed)
        ax.xaxis.set_minor_locator(NullLocator())
    elif every.max() > 10 * every.min() > 0:
        ax.set_xscale("log")
    # Times at which nothing is drawn, as where a limit is infinite, are on the axis too.
    ax.update_datalim(np.stack([every, np.ones_like(every)], axis=1), updatey=False)
    ax.margins(x=_EDGE)
    ax.set_xlabel(label)


def mixed_scale(values: np.ndarray) -> dict[str, float]:
    """The keywords of a `symlog` scale on which zero, both signs and decades of size are seen; none for zeros only."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if not sizes.size:
        return {}
    # Between powers of ten the ticks beside zero would lie on each other.
    middle = 10.0 ** np.round(np.log10(max(sizes.min(), _SMALLEST * sizes.max())))
    ends = np.array([np.nanmin(values), np.nanmax(values)])
    decades = np.sum(np.log10(np.maximum(np.abs(ends) / middle, 1.0)))
    return {"linthresh": middle, "linscale": max(0.5, _MIDDLE * decades)}
