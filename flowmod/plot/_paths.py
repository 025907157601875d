"""Trajectories as lines on a plane, coloured by where they end."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from .._tree import floats
from .._typing import State
from ..simulate import Ensemble, Trajectory
from ._palette import INK, PAPER, line_colour
from ._plane import Plane

_REACH = 0.04
"""Fractions of the axes: an end this close to an equilibrium, or to another end, belongs to it."""


def paths_of(argument: str, runs: Any, plane: Plane, position: Callable) -> list[np.ndarray]:
    """The two numbers of each run over time, (T, 2), as far as they are finite.

    Raises:
        ValueError: if something is not a run, or its states are not like the corners of the box.
    """
    many = [runs] if isinstance(runs, Trajectory | Ensemble) else runs
    if not isinstance(many, Sequence) or not all(isinstance(run, Trajectory | Ensemble) for run in many):
        raise ValueError(
            f"`{argument}` must be a Trajectory, an Ensemble or a sequence of them, got {type(runs).__name__}."
        )
    paths = [path for run in many for path in _numbers(argument, run, plane, position)]
    return [path for path in paths if len(path)]


def _numbers(argument: str, run: Trajectory | Ensemble, plane: Plane, position: Callable) -> Iterator[np.ndarray]:
    lead = (len(run), len(run.ts)) if isinstance(run, Ensemble) else (1, len(run.ts))
    states = floats(position(run.ys))
    leaves = [np.asarray(leaf).reshape(*lead, -1) for leaf in jax.tree.leaves(states)]
    if jax.tree.structure(states) != jax.tree.structure(floats(plane.like)) or sum(x.shape[-1] for x in leaves) != 2:
        raise ValueError(
            f"`{argument}` must hold states like the corners of `box`, {floats(plane.like)}, "
            f"got leaves of {jax.tree.structure(states)}: run the flow that is drawn."
        )
    for member in np.concatenate(leaves, axis=-1):
        # A member of an ensemble is infinite after its end, and a run may blow up.
        yield member[np.isfinite(member).all(axis=-1)]


def whole_state(y: State) -> State:
    """The position in a picture of whole states, where that in a landscape is a part of them."""
    return y


def groups_of(paths: list[np.ndarray], plane: Plane, attractors: np.ndarray | None) -> list[int]:
    """For each path the index of the attractor (k, 2) that it ends at, or -1 if it is at none of them.

    Without attractors, the index of the cluster that its end belongs to, from left to right.
    """
    ends = plane.fractions(np.array([path[-1] for path in paths]).reshape(-1, 2))
    centres = _clusters(ends) if attractors is None else plane.fractions(attractors)
    groups = []
    for end in ends:
        distances = np.max(np.abs(centres - end), axis=-1) if np.isfinite(end).all() else np.array([])
        nearest = int(np.argmin(distances)) if distances.size else -1
        groups.append(nearest if distances.size and distances[nearest] <= _REACH else -1)
    return groups


def _clusters(ends: np.ndarray) -> np.ndarray:
    centres: list[np.ndarray] = []
    for end in ends[np.isfinite(ends).all(axis=-1)]:
        if all(np.max(np.abs(end - centre)) > _REACH for centre in centres):
            centres.append(end)
    return np.array(sorted(map(tuple, centres))).reshape(-1, 2)


def draw_paths(ax: Axes, paths: list[np.ndarray], groups: list[int]) -> None:
    """Lines with a white rim, an open mark where each starts and a filled one where it ends."""
    for path, group in zip(paths, groups, strict=True):
        rim = [withStroke(linewidth=2.4, foreground=PAPER)]
        ax.plot(*path.T, color=line_colour(group), linewidth=1.2, zorder=3, path_effects=rim)
    if paths:
        mark = {"linestyle": "none", "marker": "o", "markeredgecolor": INK, "markeredgewidth": 0.7, "zorder": 3.5}
        starts, ends = (np.array([path[index] for path in paths]) for index in (0, -1))
        ax.plot(*starts.T, **mark, markersize=4, markerfacecolor=PAPER, label="start")
        ax.plot(*ends.T, **mark, markersize=3, markerfacecolor=INK, label="end")
