"""How much one sample changes, over the number of samples: what was measured, below what constants promise."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from ..contraction import StabilityBound, StabilityLadder
from ._axes import axes_or_new
from ._palette import INK, LINES, MUTED
from ._series import legend_in_room, on_log_axis


def stability(ladder: StabilityLadder, bound: StabilityBound | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the largest and the mean change of a loss over the number of samples, with the power laws through them.

    Args:
        ladder: what `fm.measure_stability` returned.
        bound: a bound for several numbers of samples, `fm.stability_bound(..., n=ladder.sizes)`, to draw above: dashed,
            grey if its constants were measured.
        ax: where to draw; a new figure by default.

    Returns:
        The axes, both logarithmic; the legend has the slopes with their standard errors.

    Raises:
        ValueError: if one is something else, such as an order of magnitude for a bound, or the two are of different
            kinds.
    """
    if not isinstance(ladder, StabilityLadder):
        raise ValueError(f"`ladder` must be what `fm.measure_stability` returns, got {type(ladder).__name__}.")
    if bound is not None:
        _check_bound(bound, ladder)
    ax = axes_or_new(ax)
    ax.set(xscale="log", yscale="log", xlabel="samples", ylabel="change of a loss by one sample")
    drawn = (("largest", ladder.largest(), "o", False), ("mean", ladder.mean(), "s", True))
    for colour, (name, values, mark, mean) in zip(LINES, drawn, strict=False):
        values = on_log_axis("ladder", values)
        law = ladder.fit(mean=mean)
        label = f"{name}, slope {law.slope:.2f} $\\pm$ {law.error:.2f}"
        ax.plot(ladder.sizes, values, mark, color=colour, markersize=4, label=label)
        through = np.exp(np.mean(np.log(values)) + law.slope * (np.log(ladder.sizes) - np.mean(np.log(ladder.sizes))))
        ax.plot(ladder.sizes, through, color=colour, linewidth=1.0, label=f"_fit {name}")
    if bound is not None:
        name, colour = ("bound, measured constants", MUTED) if bound.measured else ("bound", INK)
        limits = np.where(np.isfinite(bound.beta), bound.beta, np.nan)
        ax.plot(bound.n, limits, color=colour, linestyle="--", linewidth=1.2, label=name)
    ax.set_xticks(ladder.sizes, [str(n) for n in ladder.sizes])
    ax.xaxis.set_minor_locator(NullLocator())
    legend_in_room(ax, "lower")
    return ax


def _check_bound(bound: Any, ladder: StabilityLadder) -> None:
    if not isinstance(bound, StabilityBound):
        raise ValueError(
            f"`bound` must be what `fm.stability_bound` returns, got {type(bound).__name__}: nothing else is a bound."
        )
    if np.ndim(bound.n) != 1:
        raise ValueError("`bound` must be for several numbers of samples: `fm.stability_bound(..., n=ladder.sizes)`.")
    if bound.kind != ladder.kind:
        raise ValueError(f"`bound` must be of the kind of the ladder, {ladder.kind!r}, got {bound.kind!r}.")
