"""How far discrete optimizers are from their flow, over the step size."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ._axes import axes_or_new, with_unit
from ._palette import INK, LINES, line_colour

_MARKS = {"converged": "o", "oscillating": "D", "worse than its start": "^", "diverged": "X"}
_QUANTITIES = {
    "distance": "largest distance from the flow",
    "distance_metric": "largest distance from the flow, in its metric",
}
_TOP, _ROW = 0.97, 0.045
"""Fractions of the axes: where the marks of runs are that diverged, a row for each optimizer."""


def comparison(dataset: Any, *, quantity: str = "distance", ax: Axes | None = None) -> Axes:
    """Draw the distance of optimizers from their flow over the step size, a line for each, and what became of them.

    A straight line is a power law: its slope is the order at which the optimizer approaches the flow. The distance is
    the largest of a whole run, which for large step sizes goes on beyond the time of the comparison. The mark is the
    fate. A run that diverged has no distance that means anything: its mark is at the upper edge, in a row for each
    optimizer. The dotted vertical line in an optimizer's colour is its predicted limit, where there is one.

    Args:
        dataset: what `fm.compare` returned.
        quantity: `"distance"`, Euclidean, or `"distance_metric"`, in the flow's metric at the flow's state.
        ax: where to draw; a new figure by default.

    Returns:
        The axes, both logarithmic, with a legend above them.

    Raises:
        ValueError: if `dataset` is no comparison, it has more optimizers than can be told apart, or `quantity` is
            another.
    """
    _require_comparison(dataset)
    if quantity not in _QUANTITIES:
        raise ValueError(f"`quantity` must be {' or '.join(map(repr, _QUANTITIES))}, got {quantity!r}.")
    dataset = dataset.sortby("step_size")
    step_sizes, fates = np.asarray(dataset["step_size"]), np.asarray(dataset["fate"])
    largest = np.max(np.asarray(dataset[quantity]), axis=-1)
    shown = np.where((fates != "diverged") & (largest > 0), largest, np.nan)
    ax = axes_or_new(ax)
    ax.set(xscale="log", yscale="log")
    for index, name in enumerate(np.asarray(dataset["optimizer"])):
        colour = line_colour(index)
        ax.plot(step_sizes, shown[index], color=colour, linewidth=1.4, label=str(name))
        _draw_marks(ax, step_sizes, shown[index], fates[index], index)
        limit = float(dataset["predicted_limit"][index])
        if np.isfinite(limit):
            # Dots of different lines fall between each other where two limits are the same.
            dots = (4 * index, (2, 4 + 2 * (dataset.sizes["optimizer"] > 2)))
            ax.axvline(limit, color=colour, linewidth=1.4, linestyle=dots, label=f"_limit {name}")
    unit = dataset["step_size"].attrs.get("units")
    ax.set(xlabel=with_unit("step size", unit), ylabel=_QUANTITIES[quantity])
    if (fates == "diverged").any():
        low, high = np.log(ax.get_ylim())
        room = _ROW * (len(fates) + 1)
        ax.set_ylim(np.exp(low), np.exp(high + (high - low) * room / (1 - room)))
    _explain(ax, fates, bool(np.isfinite(dataset["predicted_limit"]).any()))
    return ax


def _draw_marks(ax: Axes, step_sizes: np.ndarray, values: np.ndarray, fates: np.ndarray, index: int) -> None:
    for fate, mark in _MARKS.items():
        where = fates == fate
        how = {"color": line_colour(index), "marker": mark, "linestyle": "", "markersize": 5, "label": f"_{fate}"}
        if fate == "diverged":
            heights = np.full(where.sum(), _TOP - _ROW * index)
            ax.plot(step_sizes[where], heights, transform=ax.get_xaxis_transform(), **how)
        else:
            ax.plot(step_sizes[where], values[where], **how)


def _explain(ax: Axes, fates: np.ndarray, limited: bool) -> None:
    """The legend: lines by optimizer, marks by fate."""
    handles, names = ax.get_legend_handles_labels()
    for fate, mark in _MARKS.items():
        if (fates == fate).any():
            handles.append(Line2D([], [], color=INK, marker=mark, linestyle="", markersize=5))
            names.append(fate)
    if limited:
        handles.append(Line2D([], [], color=INK, linewidth=1.4, linestyle=":"))
        names.append("predicted limit")
    ax.legend(
        handles,
        names,
        loc="lower center",
        bbox_to_anchor=(0.45, 1.0),
        ncols=3,
        frameon=False,
        fontsize="x-small",
        handlelength=1.4,
        handletextpad=0.4,
        columnspacing=1.0,
        labelspacing=0.3,
    )


def _require_comparison(dataset: Any) -> None:
    needed = {"distance", "distance_metric", "fate", "predicted_limit"}
    if not needed <= set(getattr(dataset, "data_vars", ())):
        raise ValueError(f"`dataset` must be what `fm.compare` returns, got {type(dataset).__name__}.")
    if not 0 < dataset.sizes.get("optimizer", 0) <= len(LINES):
        raise ValueError(
            f"`dataset` must have from 1 to {len(LINES)} optimizers, the most lines that can be told apart, got "
            f"{dataset.sizes.get('optimizer', 'no such dimension')}: choose some, `dataset.sel(optimizer=[...])`."
        )
