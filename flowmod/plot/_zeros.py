"""Where a function on a grid vanishes, as a line with its name on it."""

import numpy as np
from matplotlib.axes import Axes

from ._palette import INK, PAPER
from ._plane import Plane

_HALF_CHARACTER, _HALF_LINE = 0.014, 0.035
"""Fractions of the axes of a figure one column wide: the room that a text takes."""


def draw_zeros(ax: Axes, numbers: np.ndarray, values: np.ndarray, label: str, dashes: str = "-") -> np.ndarray:
    """Draw the zero contour of values (n, n) on a grid (n, n, 2): one line (points, 2), NaN between its pieces.

    A plain line has a legend entry and data to look at, which a contour set has not.
    """
    gap = np.full((1, 2), np.nan)
    pieces = []
    finite = values[np.isfinite(values)]
    if finite.size and finite.min() <= 0 <= finite.max():
        contours = ax.contour(numbers[0, :, 0], numbers[:, 0, 1], np.ma.masked_invalid(values), [0.0])
        pieces = [row for piece in contours.allsegs[0] if len(piece) for row in (piece, gap)]
        contours.remove()
    line = np.concatenate(pieces or [gap])
    ax.plot(*line.T, color=INK, linestyle=dashes, linewidth=1.1, label=label, zorder=2)
    return line


def write_on(ax: Axes, plane: Plane, line: np.ndarray, text: str, avoid: np.ndarray) -> None:
    """Write on a line (points, 2) where there is most room between the points to avoid (m, 2) and the frame.

    Room is counted in sizes of the text, which is wider than high.
    """
    half = np.array([_HALF_CHARACTER * len(text), _HALF_LINE])
    places, obstacles = (
        fractions[np.isfinite(fractions).all(axis=-1)] / half
        for fractions in (plane.fractions(line), plane.fractions(avoid))
    )
    if not len(places):
        return
    room = np.min(np.minimum(places, 1 / half - places), axis=-1)
    # A thousand paths have no more places than this: what lies together counts once.
    for obstacle in np.unique(np.round(4 * obstacles) / 4, axis=0):
        room = np.minimum(room, np.max(np.abs(places - obstacle), axis=-1))
    box = {"boxstyle": "square,pad=0.15", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.85}
    x, y = plane.placed(places[np.argmax(room)] * half)
    # Where it does not fit it stands above the line, off the marks that are on it.
    align = "center" if room.max() >= 1 else "bottom"
    ax.text(x, y, text, ha="center", va=align, fontsize="small", color=INK, bbox=box, zorder=2.5)
