"""The pictures of the toggle switch."""

from collections.abc import Iterator

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ... import plot
from ...flow import AbstractFlow
from ...simulate import Ensemble, Trajectory
from .toggle import Toggle

_COLUMN, _PAGE = (3.4, 2.9), (7.0, 2.9)
"""Inches: one column of a journal, and its page."""

_FATES = {(0, 0): "#CFE2F0", (1, 1): "#FBE7C6", (0, 1): "#0072B2", (1, 0): "#D55E00"}
"""Colours by the ends in the circuit's and in the flat metric: pale where they agree."""

_UNDECIDED, _INK = "#8C8C8C", "#000000"


def draw_toggle(toggle: Toggle) -> Iterator[tuple[str, Figure]]:
    """Names and figures, one after the other."""
    for draw in (_landscape, _phase_portrait, _rate_map, _ledger, _rate, _basins, _inertia):
        yield draw.__name__.removeprefix("_"), draw(toggle)


def _landscape(toggle: Toggle) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=_PAGE, layout="constrained", sharey=True)
    _draw_paths(toggle, toggle.flow, _some(toggle, toggle.runs), left)
    _draw_paths(toggle, toggle.flat, _some(toggle, toggle.flat_runs), right)
    left.set_title("the circuit's metric", fontsize="medium")
    right.set_title("the flat metric", fontsize="medium")
    right.set_ylabel("")
    return figure


def _phase_portrait(toggle: Toggle) -> Figure:
    figure, ax = plt.subplots(figsize=_COLUMN, layout="constrained")
    plot.phase_portrait(toggle.flow, toggle.config.box, toggle.trajectory, toggle.equilibria, scale="log", ax=ax)
    return figure


def _rate_map(toggle: Toggle) -> Figure:
    figure, ax = plt.subplots(figsize=_COLUMN, layout="constrained")
    plot.rate_map(toggle.flow, toggle.config.box, scale="log", ax=ax)
    return figure


def _ledger(toggle: Toggle) -> Figure:
    figure, ax = plt.subplots(figsize=_COLUMN, layout="constrained")
    plot.ledger(toggle.trajectory, ax=ax)
    return figure


def _rate(toggle: Toggle) -> Figure:
    figure, ax = plt.subplots(figsize=_COLUMN, layout="constrained")
    plot.rate(toggle.trajectory, toggle.rates, ax=ax)
    ax.legend(frameon=False)
    return figure


def _basins(toggle: Toggle) -> Figure:
    figure, ax = plt.subplots(figsize=_COLUMN, layout="constrained")
    plot.phase_portrait(toggle.flow, toggle.config.box, (), toggle.equilibria, nullclines=False, scale="log", ax=ax)
    count = toggle.config.starts
    fates = list(zip(toggle.ends.tolist(), toggle.flat_ends.tolist(), strict=True))
    cells = np.array([to_rgb(_FATES.get(fate, _UNDECIDED)) for fate in fates]).reshape(count, count, 3)
    # Each cell has its start in the middle, as it looks on logarithmic axes.
    fractions = (np.arange(count + 1) - 0.5) / (count - 1)
    u, v = (low * (high / low) ** fractions for low, high in zip(toggle.config.lower, toggle.config.upper, strict=True))
    ax.pcolormesh(u, v, cells, zorder=0, rasterized=True)
    names = [f"high {max(point.state, key=point.state.__getitem__)}" for point in toggle.equilibria.stable]
    legend = [
        Patch(color=colour, label=names[own] + (f", in the flat metric {names[flat]}" if own != flat else ""))
        for (own, flat), colour in _FATES.items()
        if (own, flat) in fates
    ]
    ax.legend(handles=legend, loc="lower left", fontsize="x-small")
    return figure


def _inertia(toggle: Toggle) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=_PAGE, layout="constrained")
    place = toggle.inertial.ys[0]
    box = jax.tree.map(lambda leaf: leaf.min() / 1.4, place), jax.tree.map(lambda leaf: leaf.max() * 1.4, place)
    plot.landscape(toggle.inertia, box, equilibria=toggle.equilibria, ax=left)
    runs = ((place, "-", "with inertia"), (toggle.trajectory.ys, "--", "without"))
    lines = [left.plot(y["u"], y["v"], dashes, color=_INK, linewidth=1.2, label=label)[0] for y, dashes, label in runs]
    left.legend(handles=lines, loc="upper right", fontsize="x-small")
    plot.ledger(toggle.inertial, ax=right)
    return figure


def _draw_paths(toggle: Toggle, flow: AbstractFlow, runs: list[Trajectory], ax: Axes) -> None:
    plot.landscape(flow, toggle.config.box, runs, equilibria=toggle.equilibria, scale="log", ax=ax)


def _some(toggle: Toggle, runs: Ensemble) -> list[Trajectory]:
    """Some starts along each axis: as many paths as can be told apart."""
    places = (np.linspace(0.1, 0.9, 4) * (toggle.config.starts - 1)).round().astype(int)
    return [runs[int(row * toggle.config.starts + column)] for row in places for column in places]
