"""The numbers of a state against time."""

import jax
import numpy as np
from matplotlib.axes import Axes

from .._tree import floats
from ..simulate import Trajectory
from ._axes import axes_or_new, time_label, with_unit
from ._input import require_trajectory
from ._labels import number_labels
from ._palette import DASHES, LINES, MOST_LINES, line_colour


def states(trajectory: Trajectory, *, ax: Axes | None = None) -> Axes:
    """Draw every number of a small state against time, one line each.

    Args:
        trajectory: the run, of a state of at most 18 numbers: more lines can't be told apart.
        ax: where to draw; a new figure by default.

    Returns:
        The axes. Lines are labelled by path and unit, as in `layers.0.bias[2] (nM)`.

    Raises:
        ValueError: if the state is larger.
    """
    require_trajectory(trajectory)
    labels = [with_unit(*label) for label in number_labels(trajectory.ys, trajectory.units, lead=1)]
    if len(labels) > MOST_LINES:
        raise ValueError(
            f"`trajectory` has {len(labels)} numbers in its state, and {MOST_LINES} lines are the most that can be "
            "told apart: draw some of `trajectory.ys` yourself, or record a few measures with "
            "`simulate(..., observe=fn)`."
        )
    leaves = [np.asarray(leaf).reshape(len(trajectory), -1) for leaf in jax.tree.leaves(floats(trajectory.ys))]
    ax = axes_or_new(ax)
    for index, (label, column) in enumerate(zip(labels, np.concatenate(leaves, axis=1).T, strict=True)):
        ax.plot(
            trajectory.ts,
            column,
            color=line_colour(index),
            linestyle=DASHES[index // len(LINES)],
            linewidth=1.4,
            label=label,
        )
    ax.set(xlabel=time_label(trajectory.units), ylabel=labels[0] if len(labels) == 1 else "state")
    ax.margins(x=0)
    if len(labels) > 1:
        ax.legend(frameon=False)
    return ax
