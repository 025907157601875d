"""How far discrete optimizers are from their flow, over the step size."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ._axes import axes_or_new, with_unit
from ._legend import legend_above
from ._palette import INK, LINES, PAPER, line_colour

_MARKS = {"converged": "o", "converging": "o", "periodic": "D", "irregular": "^", "diverged": "X"}
_HOLLOW = "converging"
_QUANTITIES = {
    "distance": "largest distance from the flow",
    "distance_metric": "largest distance from the flow, in its metric",
}
_TOP, _ROW = 0.97, 0.045
"""Fractions of the axes: where the marks of runs are that diverged, a row for each optimizer."""
_ABOVE = 1.6
"""A fitted line is so many times above the distances that it was fitted to."""


def comparison(dataset: Any, *, quantity: str = "distance", ax: Axes | None = None) -> Axes:
    """Draw the distance of optimizers from their flow over the step size, a line for each, and what became of them.

    A straight line is a power law: its slope is the order at which the optimizer approaches the flow. Where the order
    is known, a thin line above has its slope, the number beside it, and ends where the asymptotic regime does. The
    distance is the largest of a whole run, which for large step sizes goes on beyond the time of the comparison. The
    mark is the fate. A run that diverged has no distance that means anything: its mark is at the upper edge, in a row
    for each optimizer. The dotted vertical line in an optimizer's colour is its predicted limit, where there is one.

    Args:
        dataset: what `fm.compare` returned; of several flows or starts choose one.
        quantity: `"distance"`, Euclidean, or `"distance_metric"`, in the flow's metric at the flow's state.
        ax: where to draw; a new figure by default.

    Returns:
        The axes, both logarithmic, with a legend above them.

    Raises:
        ValueError: if `dataset` is no comparison, it has several flows or starts or more optimizers than can be told
            apart, or `quantity` is another.
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
        _draw_order(ax, step_sizes, shown[index], dataset.isel(optimizer=index))
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
    _explain(ax, fates, dataset)
    return ax


def _draw_marks(ax: Axes, step_sizes: np.ndarray, values: np.ndarray, fates: np.ndarray, index: int) -> None:
    for fate in _MARKS:
        where = fates == fate
        how: dict[str, Any] = _mark(fate, line_colour(index)) | {"label": f"_{fate}"}
        if fate == "diverged":
            heights = np.full(where.sum(), _TOP - _ROW * index)
            ax.plot(step_sizes[where], heights, transform=ax.get_xaxis_transform(), **how)
        else:
            ax.plot(step_sizes[where], values[where], **how)


def _mark(fate: str, colour: str) -> dict[str, Any]:
    face = PAPER if fate == _HOLLOW else colour
    return {"color": colour, "markerfacecolor": face, "marker": _MARKS[fate], "linestyle": "", "markersize": 5}


def _draw_order(ax: Axes, step_sizes: np.ndarray, values: np.ndarray, run: Any) -> None:
    """The fitted power law over its regime, with its exponent."""
    order, until = float(run["order"]), float(run["order_until"])
    regime = np.isfinite(values) & (step_sizes <= until)
    if not (np.isfinite(order) and regime.any()):
        return
    x = step_sizes[regime]
    # Through the middle of the points, so that no single one decides where it is.
    level = np.exp(np.mean(np.log(values[regime]) - order * np.log(x)))
    ends = np.array([x[0], until])
    heights = _ABOVE * level * ends**order
    ax.plot(ends, heights, color=INK, linewidth=0.8, marker="|", markersize=6, markevery=[1], label="_order")
    middle = np.sqrt(ends.prod()), np.sqrt(heights.prod())
    ax.annotate(f"{order:.2f}", middle, (-3, 2), textcoords="offset points", ha="right", fontsize="x-small")


def _explain(ax: Axes, fates: np.ndarray, dataset: Any) -> None:
    """The legend: lines by optimizer, marks by fate."""
    handles = list(ax.get_legend_handles_labels()[0])
    handles += [Line2D([], [], **_mark(fate, INK), label=fate) for fate in _MARKS if (fates == fate).any()]
    if np.isfinite(dataset["predicted_limit"]).any():
        handles.append(Line2D([], [], color=INK, linewidth=1.4, linestyle=":", label="predicted limit"))
    if np.isfinite(dataset["order"]).any():
        handles.append(Line2D([], [], color=INK, linewidth=0.8, label="fitted order"))
    legend_above(ax, handles)


def _require_comparison(dataset: Any) -> None:
    needed = {"distance", "distance_metric", "fate", "predicted_limit", "order", "order_until"}
    if not needed <= set(getattr(dataset, "data_vars", ())):
        raise ValueError(f"`dataset` must be what `fm.compare` returns, got {type(dataset).__name__}.")
    several = [dim for dim in ("flow", "start") if dim in dataset.dims]
    if several:
        raise ValueError(
            f"`dataset` must be of one flow and one start, got the dimension {several[0]!r}: choose one, "
            f"`dataset.isel({several[0]}=0)`."
        )
    if not 0 < dataset.sizes.get("optimizer", 0) <= len(LINES):
        raise ValueError(
            f"`dataset` must have from 1 to {len(LINES)} optimizers, the most lines that can be told apart, got "
            f"{dataset.sizes.get('optimizer', 'no such dimension')}: choose some, `dataset.sel(optimizer=[...])`."
        )
