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
    limiting: tuple[int, int] | int | tuple[str, str] | str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw modules as nodes with their rates, and couplings as arrows with their gains.

    An arrow from `j` to `i` is as wide as the gain `gains[i][j]`, the effect of `j` on `i`. Purple nodes contract on
    their own, orange ones do not.

    Args:
        rates: the rate of each module, (N,) in 1/time.
        gains: the gains, (N, N) in 1/time; the diagonal is not looked at, and zero has no arrow.
        names: a name for each module; its index by default.
        limiting: the module or the coupling that limits the whole, drawn in vermilion: a composition's `limiting`, an
            index or `(i, j)` for the gain of `j` into `i`; or what a `fm.ModuleReport` says, `limiting_module` or
            `limiting_coupling`, one of the `names` or the pair `(from, into)`.
        ax: where to draw; a new figure by default.

    Returns:
        The axes. The colour bar is `ax.figure.axes[-1]`.

    Raises:
        ValueError: if the shapes do not fit, a rate is not finite, a gain is negative or not finite, or `limiting` is
            none of the modules and couplings.
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

    marked = None if limiting is None else _marked(limiting, names, strengths)
    ax = axes_or_new(ax)
    places = _places(n)
    _draw_gains(ax, places, strengths, marked)
    _draw_modules(ax, places, rates, names, marked)
    ax.set(xlim=(-1.45, 1.45), ylim=(-1.45, 1.45), aspect="equal")
    ax.axis("off")
    return ax


def _marked(limiting: Any, names: list[str], strengths: np.ndarray) -> tuple[int, ...]:
    """What limits as indices: `(i,)` for a module, `(i, j)` for the gain of `j` into `i`."""
    parts = limiting if isinstance(limiting, tuple) else (limiting,)
    if all(isinstance(part, str) and names.count(part) == 1 for part in parts):
        found = tuple(names.index(part) for part in reversed(parts))  # a report says (from, into)
    elif all(isinstance(part, int | np.integer) and not isinstance(part, bool) for part in parts):
        found = tuple(map(int, parts))
    else:
        found = ()
    known = all(0 <= index < len(names) for index in found)
    if not (known and (len(found) == 1 or (len(found) == 2 and strengths[found] > 0))):
        raise ValueError(
            f"`limiting` must be one of the modules {names}, its index, or a coupling with a gain: (i, j) for the gain "
            f"of `j` into `i`, or two names as (from, into); got {limiting!r}."
        )
    return found


def _places(n: int) -> np.ndarray:
    """On a circle, the first on the left and then clockwise: a chain of layers reads from left to right."""
    if n == 1:
        return np.zeros((1, 2))
    angles = np.pi - 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _draw_gains(ax: Axes, places: np.ndarray, strengths: np.ndarray, marked: tuple[int, ...] | None) -> None:
    edges = sorted(zip(*np.nonzero(strengths), strict=True), key=lambda edge: -strengths[edge])
    strongest = strengths.max(initial=0.0)
    for rank, (i, j) in enumerate(edges):
        colour = LINES[1] if marked == (i, j) else INK
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


def _draw_modules(
    ax: Axes, places: np.ndarray, rates: np.ndarray, names: list[str], marked: tuple[int, ...] | None
) -> None:
    norm = CenteredNorm(0.0, np.abs(rates).max() or 1.0)
    rims = [LINES[1] if marked == (index,) else INK for index in range(len(rates))]
    nodes = {"s": _NODE, "c": rates, "cmap": colormaps["PuOr"], "norm": norm, "edgecolors": rims, "linewidths": 1.2}
    ax.scatter(*places.T, **nodes, zorder=3)
    for (x, y), rate, name in zip(places, rates, names, strict=True):
        halo = [withStroke(linewidth=2.0, foreground=PAPER)]
        style = {"ha": "center", "path_effects": halo, "zorder": 4}
        ax.text(x, y, f"{rate:.2g}", va="center", fontsize="small", color=INK, **style)
        ax.text(x, y + (0.3 if y >= 0 else -0.3), name, va="center", color=INK, **style)
    ax.figure.colorbar(ScalarMappable(norm, colormaps["PuOr"]), ax=ax, label=rate_label(()), shrink=0.8)
