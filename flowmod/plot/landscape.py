"""The potential of a flow of two numbers as a landscape, with the metric and the paths that descend it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap

from .._typing import Args, Potential, State
from ..flow import AbstractFlow, Equilibria, require_flow
from ..simulate import Ensemble, Trajectory
from ._axes import axes_or_new, with_unit
from ._ellipses import metric_ellipses
from ._equilibria import draw_equilibria, marks_of
from ._levels import contour_levels
from ._palette import INK, PAPER
from ._paths import draw_paths, groups_of, paths_of
from ._plane import plane_of

_NODES = 121
_TICKS = 7


def landscape(
    flow: AbstractFlow,
    box: tuple[State, State],
    trajectories: Trajectory | Ensemble | Sequence[Trajectory | Ensemble] = (),
    *,
    ellipses: bool = True,
    equilibria: Equilibria | None = None,
    scale: str = "linear",
    t: Any = 0.0,
    args: Args = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the potential of a flow of two numbers, the metric as ellipses, and trajectories.

    The levels are not evenly spaced: most are quantiles of the potential over the picture, and every basin has some up
    to the height of its pass, so that a barrier of a thousandth of the range is seen. Each ellipse is a unit ball of
    the metric, `v^T M v = const`: a stiff direction is short. The constant differs from one to the next, which makes
    them equally long; compare their shapes, not their sizes.

    Args:
        flow: a flow with a potential. Of an `InertialFlow` the positions are drawn.
        box: the lower and the upper corner, two trees like the state (the position, for an `InertialFlow`).
        trajectories: runs of this flow, a `Trajectory`, an `Ensemble` or a sequence of them. An open mark is a start,
            a filled one an end, and paths with one colour end together.
        ellipses: whether to draw the metric.
        equilibria: fixed points to mark, as in `phase_portrait`; the colour of a path then says at which stable one
            it ends, and grey that it ends at none.
        scale: `"linear"`, or `"log"` for positive states that range over orders of magnitude.
        t: the time at which a metric that moves is drawn.
        args: handed to potential and metric.
        ax: where to draw; a new figure by default.

    Returns:
        The axes. The colour bar is `ax.figure.axes[-1]`.

    Raises:
        ValueError: if the flow has no potential, the box does not fit it or has not two numbers, or a trajectory is
            of another state.
    """
    require_flow(flow)
    if flow.potential is None:
        raise ValueError(
            "`flow` must have a potential to draw a landscape of: give one, as in `fm.VectorField(fn, metric, "
            "potential)`, or draw `fm.plot.phase_portrait(flow, box)`."
        )
    plane = plane_of(box, scale, flow.units)
    paths = paths_of("trajectories", trajectories, plane, flow.position)
    marks = marks_of(equilibria, plane, flow.position)
    numbers = plane.grid(np.linspace(0, 1, _NODES))
    values = plane.evaluate(_potential, numbers, t, (flow.potential, args))
    levels = contour_levels(values)
    outlines = metric_ellipses(plane, flow, t, args) if ellipses else ()

    ax = axes_or_new(ax)
    plane.frame(ax)
    _draw_contours(ax, numbers, values, levels, with_unit("potential", dict(flow.units).get("potential")))
    if ellipses:
        ax.add_collection(PolyCollection(list(outlines), facecolor="none", edgecolor=INK, linewidth=0.5, alpha=0.7))
    draw_paths(ax, paths, groups_of(paths, plane, None if equilibria is None else marks["stable"]))
    draw_equilibria(ax, marks)
    return ax


def _draw_contours(ax: Axes, numbers: np.ndarray, values: np.ndarray, levels: np.ndarray, label: str) -> None:
    x, y = numbers[0, :, 0], numbers[:, 0, 1]
    masked = np.ma.masked_invalid(values)
    colours = _pale_viridis()
    # One colour step for each band: with a colour in proportion to the value, all the low bands would look alike.
    filled = ax.contourf(x, y, masked, levels, cmap=colours, norm=BoundaryNorm(levels, colours.N), zorder=0.5)
    ax.contour(x, y, masked, levels, colors=PAPER, linewidths=0.4, linestyles="solid", zorder=0.6)
    bar = ax.figure.colorbar(filled, ax=ax, spacing="uniform", label=label)
    ticks = levels[np.unique(np.linspace(0, len(levels) - 1, _TICKS).round().astype(int))]
    bar.set_ticks(ticks.tolist(), labels=_short(ticks))
    bar.ax.minorticks_off()


def _pale_viridis() -> LinearSegmentedColormap:
    """Viridis on its way to paper: the ground of a map must not outshine the paths on it."""
    colours = colormaps["viridis"](np.linspace(0.1, 1, 256))[:, :3]
    return LinearSegmentedColormap.from_list("pale_viridis", 1 - 0.6 * (1 - colours))


def _short(values: np.ndarray) -> list[str]:
    """The fewest digits, at least three, with which all values differ."""
    for digits in range(3, 12):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(texts):
            break
    return texts


def _potential(t: Any, y: State, operands: tuple[Potential, Args]) -> Any:
    del t
    potential, args = operands
    return potential(y, args)
