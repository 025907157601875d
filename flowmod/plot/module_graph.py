"""Modules as a graph: how fast each contracts on its own, and how strongly they drive each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm
from matplotlib.patches import FancyArrowPatch
from matplotlib.patheffects import withStroke

from ._axes import axes_or_new, rate_label
from ._palette import INK, LINES, PAPER

_LABELLED = 12
"""So many of the strongest gains carry their number: more lie on each other."""

_BEND = 0.18
_NODE = 900.0
_WIDEST = 2.8


def module_graph(
    rates: Any,
    gains: Any,
    *,
    names: Sequence[str] | None = None,
    limiting: tuple[int, int] | int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw modules as nodes with their rates, and couplings as arrows with their gains.

    An arrow from `j` to `i` is as wide as the gain `gains[i][j]`, the effect of `j` on `i`. Purple nodes contract on
    their own, orange ones do not.

    Args:
        rates: the rate of each module, (N,) in 1/time.
        gains: the gains, (N, N) in 1/time; the diagonal is not looked at, and zero has no arrow.
        names: a name for each module; its index by default.
        limiting: the module, or the coupling `(i, j)`, that limits the whole, drawn in vermilion: a composition's
            `limiting`.
        ax: where to draw; a new figure by default.

    Returns:
        The axes. The colour bar is `ax.figure.axes[-1]`.

    Raises:
        ValueError: if the shapes do not fit, a rate is not finite, or a gain is negative or not finite.
    """
    rates, gains = np.asarray(rates, dtype=float), np.asarray(gains, dtype=float)
    n = rates.size
    if rates.ndim != 1 or not n or gains.shape != (n, n):
        raise ValueError(f"`rates` and `gains` must be (N,) and (N, N), got shapes {rates.shape} and {gains.shape}.")
    strengths = np.where(np.eye(n, dtype=bool), 0.0, gains)
    if not np.isfinite(rates).all() or not np.isfinite(strengths).all() or (strengths < 0).any():
        raise ValueError("`rates` must be finite, `gains` finite and not negative: leave out a module that has none.")
    names = [str(index) for index in range(n)] if names is None else list(names)
    if len(names) != n:
        raise ValueError(f"`names` must be one for each of the {n} modules, got {len(names)}.")

    ax = axes_or_new(ax)
    places = _places(n)
    _draw_gains(ax, places, strengths, limiting)
    _draw_modules(ax, places, rates, names, limiting)
    ax.set(xlim=(-1.45, 1.45), ylim=(-1.45, 1.45), aspect="equal")
    ax.axis("off")
    return ax


def _places(n: int) -> np.ndarray:
    """On a circle, the first on the left and then clockwise: a chain of layers reads from left to right."""
    if n == 1:
        return np.zeros((1, 2))
    angles = np.pi - 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _draw_gains(ax: Axes, places: np.ndarray, strengths: np.ndarray, limiting: Any) -> None:
    edges = sorted(zip(*np.nonzero(strengths), strict=True), key=lambda edge: -strengths[edge])
    strongest = strengths.max(initial=0.0)
    for rank, (i, j) in enumerate(edges):
        colour = LINES[1] if isinstance(limiting, tuple) and tuple(limiting) == (i, j) else INK
        share = strengths[i, j] / strongest
        arrow = FancyArrowPatch(
            tuple(places[j]),
            tuple(places[i]),
            connectionstyle=f"arc3,rad={_BEND}",
            arrowstyle="-|>",
            mutation_scale=10,
            shrinkA=18,
            shrinkB=18,
            linewidth=max(0.4, _WIDEST * share),
            color=colour,
            alpha=0.35 + 0.65 * share,
            zorder=1,
        )
        ax.add_patch(arrow)
        if rank < _LABELLED:
            start, end = places[j], places[i]
            # The middle of the bent arrow: the control point of `arc3` lies off the chord by its bend.
            across = np.array([end[1] - start[1], start[0] - end[0]])
            x, y = (start + end) / 2 + _BEND / 2 * across
            halo = [withStroke(linewidth=2.5, foreground=PAPER)]
            text = f"{strengths[i, j]:.2g}"
            ax.text(x, y, text, ha="center", va="center", fontsize="small", color=colour, path_effects=halo, zorder=2)


def _draw_modules(ax: Axes, places: np.ndarray, rates: np.ndarray, names: list[str], limiting: Any) -> None:
    norm = CenteredNorm(0.0, np.abs(rates).max() or 1.0)
    rims = [LINES[1] if isinstance(limiting, int) and limiting == index else INK for index in range(len(rates))]
    nodes = {"s": _NODE, "c": rates, "cmap": colormaps["PuOr"], "norm": norm, "edgecolors": rims, "linewidths": 1.2}
    ax.scatter(*places.T, **nodes, zorder=3)
    for (x, y), rate, name in zip(places, rates, names, strict=True):
        halo = [withStroke(linewidth=2.0, foreground=PAPER)]
        style = {"ha": "center", "path_effects": halo, "zorder": 4}
        ax.text(x, y, f"{rate:.2g}", va="center", fontsize="small", color=INK, **style)
        ax.text(x, y + (0.3 if y >= 0 else -0.3), name, va="center", color=INK, **style)
    ax.figure.colorbar(ScalarMappable(norm, colormaps["PuOr"]), ax=ax, label=rate_label(()), shrink=0.8)
