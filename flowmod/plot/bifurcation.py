"""What an optimizer settles on, over its step size."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ._axes import axes_or_new, with_unit
from ._fates import COLOURS, known_fates
from ._legend import legend_above
from ._palette import INK

_DOT, _DENSE = 1.2, 0.3
"""Areas of dots in points: a cycle is a line, and the layers of chaos are seen."""

_MARGIN, _NARROWEST = 0.05, 0.01
"""Of the range that is seen, and of the numbers: what is narrower is drawn as one line."""


def bifurcation(dataset: Any, *, label: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the iterates that runs settled on over the step size, in the colours of their fates.

    The dashed vertical line is the predicted limit. Runs that diverged have no iterates to show.

    Args:
        dataset: what `fm.bifurcation` returned.
        label: of the vertical axis; what the dataset calls its observable by default.
        ax: where to draw; a new figure by default.

    Returns:
        The axes, with a legend above them.

    Raises:
        ValueError: if `dataset` is no bifurcation diagram.
    """
    if not {"observed", "fate", "growth"} <= set(getattr(dataset, "data_vars", ())):
        raise ValueError(f"`dataset` must be what `fm.bifurcation` returns, got {type(dataset).__name__}.")
    fates = known_fates("dataset", dataset["fate"])
    steps, observed = (
        np.asarray(dataset["step_size"]),
        np.asarray(dataset["observed"].transpose("step_size", "iterate")),
    )
    ax = axes_or_new(ax)
    handles = []
    for fate in ("converged", "converging", "periodic", "irregular"):
        where = fates == fate
        if where.any():
            across = np.repeat(steps[where], observed.shape[1])
            dots = {
                "s": _DENSE if fate == "irregular" else _DOT,
                "color": COLOURS[fate],
                "linewidths": 0,
                "rasterized": True,
            }
            ax.scatter(across, observed[where].ravel(), label=f"_{fate}", **dots)
            handles.append(Line2D([], [], color=COLOURS[fate], marker="o", linestyle="", markersize=4, label=fate))
    limit = float(dataset["predicted_limit"])
    if steps.min() < limit < steps.max():
        ax.axvline(limit, color=INK, linewidth=1.0, linestyle=(0, (4, 2)), label="_limit")
        handles.append(Line2D([], [], color=INK, linewidth=1.0, linestyle=(0, (4, 2)), label="predicted limit"))
    ax.set(xlim=(steps.min(), steps.max()), ylabel=label or dataset["observed"].attrs.get("long_name", "observed"))
    ax.yaxis.set_major_formatter("{x:g}")
    if np.isfinite(observed).any():
        low, high = np.nanmin(observed), np.nanmax(observed)
        half = max((high - low) * (0.5 + _MARGIN), _NARROWEST * max(abs(low), abs(high)))
        ax.set_ylim((low + high) / 2 - half, (low + high) / 2 + half)
    ax.set_xlabel(with_unit("step size", dataset["step_size"].attrs.get("units")))
    legend_above(ax, handles)
    return ax
