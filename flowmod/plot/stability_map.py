"""What became of optimizers over their step size and another number."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from ._axes import axes_or_new, with_unit
from ._fates import draw_fates, draw_limit, edges_of, known_fates, legend_of_fates

_FEW = 8
"""So many whole numbers each have a tick."""


def stability_map(dataset: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the fates of a family of optimizers, its step size upwards, and the predicted limit as a dashed line.

    Axes are logarithmic where their numbers are spaced in ratios. Where the limit is above all step sizes, or unknown,
    there is no line.

    Args:
        dataset: what `fm.stability_map` returned.
        ax: where to draw; a new figure by default.

    Returns:
        The axes, with a legend above them.

    Raises:
        ValueError: if `dataset` is no stability map.
    """
    if not {"fate", "predicted_limit", "growth"} <= set(getattr(dataset, "data_vars", ())) or dataset["fate"].ndim != 2:
        raise ValueError(f"`dataset` must be what `fm.stability_map` returns, got {type(dataset).__name__}.")
    [name] = set(dataset["fate"].dims) - {"step_size"}
    dataset = dataset.sortby(["step_size", name])
    fates = known_fates("dataset", dataset["fate"].transpose("step_size", name))
    (x, across), (y, up) = (edges_of(np.asarray(dataset[axis], dtype=float)) for axis in (name, "step_size"))
    ax = axes_or_new(ax)
    draw_fates(ax, x, y, fates)
    limits = np.asarray(dataset["predicted_limit"])
    shown = np.where(np.isfinite(limits), limits, np.nan)
    line = None
    if (shown < y[-1]).any():
        line = draw_limit(ax, np.asarray(dataset[name]), shown)
    ax.set(xscale=across, yscale=up, xlim=x[[0, -1]], ylim=y[[0, -1]])
    if dataset[name].dtype.kind in "iu" and len(limits) <= _FEW:
        ax.set_xticks(dataset[name].values, [str(value) for value in dataset[name].values])
        ax.xaxis.set_minor_locator(NullLocator())
    unit = dataset["step_size"].attrs.get("units")
    ax.set(xlabel=dataset[name].attrs.get("long_name", name), ylabel=with_unit("step size", unit))
    legend_of_fates(ax, fates, line)
    return ax
