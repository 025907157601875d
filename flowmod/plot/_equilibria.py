"""Fixed points as marks that say whether they are stable."""

from collections.abc import Callable

import jax
import numpy as np
from matplotlib.axes import Axes

from ..flow import Equilibria, FixedPoint
from ._palette import INK, PAPER
from ._plane import Plane

_SIGNS = {"stable": ("o", "full"), "unstable": ("o", "none"), "saddle": ("o", "left")}
"""Marker and fill: filled, open and half, the textbooks' signs."""

_UNDECIDED = ("s", "full")
"""What linearisation does not tell, a centre or a degenerate point."""


def marks_of(equilibria: Equilibria | None, plane: Plane, position: Callable) -> dict[str, np.ndarray]:
    """The two numbers of the fixed points of each kind, `"stable"` (also if there is none), `"saddle"`, ...: (k, 2).

    Raises:
        ValueError: if the fixed points are of another state than the plane's.
    """
    marks: dict[str, list[np.ndarray]] = {"stable": []}
    for point in equilibria or ():
        marks.setdefault(point.stability.split()[0], []).append(_numbers(point, plane, position))
    return {kind: np.array(points).reshape(-1, 2) for kind, points in marks.items()}


def _numbers(point: FixedPoint, plane: Plane, position: Callable) -> np.ndarray:
    structure = jax.tree.structure(plane.like)
    # Those of a gradient flow are at home on the positions of an inertial flow too.
    place = point.state if jax.tree.structure(point.state) == structure else position(point.state)
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(place)]
    if jax.tree.structure(place) != structure or sum(leaf.size for leaf in leaves) != 2:
        raise ValueError(f"`equilibria` must be of states like the corners of `box`, {plane.like}, got {point.state}.")
    return np.concatenate(leaves)


def draw_equilibria(ax: Axes, marks: dict[str, np.ndarray]) -> None:
    """One line of marks for each kind of stability, labelled by it."""
    for kind, points in marks.items():
        if len(points):
            marker, fill = _SIGNS.get(kind, _UNDECIDED)
            ax.plot(
                *points.T,
                marker=marker,
                fillstyle=fill,
                linestyle="none",
                markersize=6,
                color=INK,
                markerfacecoloralt=PAPER,
                markeredgewidth=1.0,
                zorder=4,
                label=kind,
            )
