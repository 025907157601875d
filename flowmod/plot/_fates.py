"""Fates as colours: cells of them, and the legend that names those that are there."""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from ._legend import legend_above
from ._palette import INK, PAPER

COLOURS = {
    "converged": "#0072B2",
    "converging": "#9AD0F0",
    "periodic": "#009E73",
    "irregular": "#E69F00",
    "diverged": "#DEDEDE",
}
"""Okabe and Ito's, with two tones of blue for runs that come to rest, and grey for those that are lost."""


def draw_fates(ax: Axes, x_edges: np.ndarray, y_edges: np.ndarray, fates: np.ndarray) -> None:
    """Cells in the colours of their fates, (rows, columns), between the edges."""
    codes = np.select([fates == name for name in COLOURS], np.arange(len(COLOURS)))
    colours = ListedColormap(list(COLOURS.values()))
    ax.pcolormesh(x_edges, y_edges, codes, cmap=colours, vmin=-0.5, vmax=len(COLOURS) - 0.5, rasterized=True)


def legend_of_fates(ax: Axes, fates: np.ndarray, line: Artist | None = None) -> None:
    """A legend above the axes, of the fates that are there and of a line."""
    patches = [Patch(color=colour, label=name) for name, colour in COLOURS.items() if (fates == name).any()]
    legend_above(ax, [*patches, *([] if line is None else [line])])


def known_fates(argument: str, fates: Any) -> np.ndarray:
    """An array of fates.

    Raises:
        ValueError: if one is another word.
    """
    array = np.asarray(fates)
    unknown = set(array.ravel()) - set(COLOURS)
    if unknown:
        raise ValueError(f"`{argument}` must have fates of {', '.join(COLOURS)}, got {str(min(unknown))!r}.")
    return array


def edges_of(values: np.ndarray) -> tuple[np.ndarray, str]:
    """The edges of cells around ascending values, in ratios where these are spaced so, and the scale of their axis."""
    if len(values) < 2:
        return np.array([0.5, 1.5]) * values if values[0] else np.array([-0.5, 0.5]), "linear"
    in_ratios = (values > 0).all() and _unevenness(np.log(values)) < _unevenness(values)
    places = np.log(values) if in_ratios else values
    middles = (places[1:] + places[:-1]) / 2
    edges = np.concatenate([[2 * places[0] - middles[0]], middles, [2 * places[-1] - middles[-1]]])
    if not in_ratios:
        return edges, "linear"
    # Within a decade a logarithmic axis has no round numbers.
    return np.exp(edges), "log" if edges[-1] - edges[0] > np.log(10) else "linear"


def _unevenness(places: np.ndarray) -> float:
    gaps = np.diff(places)
    return float(np.ptp(gaps) / np.mean(gaps))


def draw_limit(ax: Axes, x: Any, y: Any) -> Artist:
    """A predicted limit: black, with a white edge that keeps it apart from every colour."""
    ax.plot(x, y, color=PAPER, linewidth=2.6, label="_edge")
    return ax.plot(x, y, color=INK, linewidth=1.3, linestyle=(0, (4, 2)), label="predicted limit")[0]
