"""What became of every run of a comparison, over the step size."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ._axes import axes_or_new, with_unit
from ._fates import draw_fates, draw_limit, edges_of, known_fates, legend_of_fates

_GAP = 0.08
"""Of a row: the room between it and the next."""


def fates(dataset: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the fates of runs over the step size, a row for each optimizer, and for each start if there are several.

    A dashed tick across a row is its predicted limit, where there is one.

    Args:
        dataset: what `fm.compare` returned, or a selection of it that has step sizes.
        ax: where to draw; by default a new figure, one journal column wide.

    Returns:
        The axes, with a legend above them.

    Raises:
        ValueError: if `dataset` has no fates over step sizes.
    """
    if "fate" not in getattr(dataset, "data_vars", ()) or "step_size" not in dataset["fate"].dims:
        raise ValueError(f"`dataset` must be what `fm.compare` returns, got {type(dataset).__name__}.")
    dataset = dataset.sortby("step_size")
    dims = [dim for dim in dataset["fate"].dims if dim != "step_size"]
    table = known_fates("dataset", dataset["fate"].transpose(*dims, "step_size"))
    sizes = [dataset.sizes[dim] for dim in dims]
    rows = table.reshape(-1, table.shape[-1])
    edges, scale = edges_of(np.asarray(dataset["step_size"]))
    ax = axes_or_new(ax)
    for row, fates_of_row in enumerate(rows):
        draw_fates(ax, edges, np.array([row - 0.5 + _GAP / 2, row + 0.5 - _GAP / 2]), fates_of_row[None])
    line = None
    if "predicted_limit" in dataset:
        limits = dataset["predicted_limit"].broadcast_like(dataset["fate"].isel(step_size=0)).transpose(*dims)
        for row, limit in enumerate(np.ravel(limits)):
            if edges[0] < limit < edges[-1]:
                line = draw_limit(ax, [limit, limit], [row - 0.5, row + 0.5])
    ax.set(xscale=scale, xlim=edges[[0, -1]], ylim=(len(rows) - 0.5, -0.5))
    ax.set_yticks(range(len(rows)), [_label(dataset, dims, index) for index in np.ndindex(*sizes)])
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(with_unit("step size", dataset["step_size"].attrs.get("units")))
    legend_of_fates(ax, rows, line)
    return ax


def _label(dataset: Any, dims: list[str], index: tuple[int, ...]) -> str:
    """`adam`, or `adam, start 3`: a name stands for itself, a number comes after what it counts."""
    names, counts = [], []
    for dim, place in zip(dims, index, strict=True):
        value = np.asarray(dataset[dim])[place]
        names += [str(value)] if isinstance(value, str) else []
        counts += [] if isinstance(value, str) else [f"{dim} {value}"]
    return ", ".join(names + counts)
