"""Fixed points as marks that say whether they are stable."""

import jax
import numpy as np
from matplotlib.axes import Axes

from ..flow import Equilibria, FixedPoint
from ._palette import INK, PAPER
from ._plane import Plane

_FILLS = {"stable": "full", "unstable": "none", "saddle": "left"}
"""Filled, open and half: the textbooks' signs. What linearisation does not decide is a filled square."""


def draw_equilibria(ax: Axes, plane: Plane, equilibria: Equilibria | None) -> None:
    """One line of marks for each kind of stability, labelled by it.

    Raises:
        ValueError: if the fixed points are of another state than the plane's.
    """
    kinds: dict[str, list[np.ndarray]] = {}
    for point in equilibria or ():
        kinds.setdefault(_kind(point), []).append(numbers_of(point, plane))
    for kind, points in kinds.items():
        style = {"marker": "o", "fillstyle": _FILLS[kind]} if kind in _FILLS else {"marker": "s", "fillstyle": "full"}
        ax.plot(
            *np.array(points).T,
            **style,
            linestyle="none",
            markersize=6,
            color=INK,
            markerfacecoloralt=PAPER,
            markeredgewidth=1.0,
            zorder=4,
            label=kind,
        )


def numbers_of(point: FixedPoint, plane: Plane) -> np.ndarray:
    """The two numbers of a fixed point, (2,)."""
    if jax.tree.structure(point.state) != jax.tree.structure(plane.like):
        raise ValueError(f"`equilibria` must be of states like the corners of `box`, got {point.state}.")
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(point.state)])


def _kind(point: FixedPoint) -> str:
    return point.stability.split()[0]
