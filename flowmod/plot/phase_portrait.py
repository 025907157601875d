"""The phase portrait of a flow of two numbers: directions, nullclines, fixed points and where paths end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .._tree import ravel
from .._typing import Args, State
from ..flow import AbstractFlow, Equilibria, require_flow
from ..simulate import Ensemble, Trajectory
from ._axes import axes_or_new
from ._equilibria import draw_equilibria, marks_of
from ._palette import MUTED
from ._paths import draw_paths, groups_of, paths_of, whole_state
from ._plane import Plane, plane_of
from ._zeros import draw_zeros, write_on

_NODES = 121
_EVERY = 4
"""Streamlines need the field on a coarser grid than nullclines do."""

_DASHES = ("--", ":")


def phase_portrait(
    flow: AbstractFlow,
    box: tuple[State, State],
    ensemble: Trajectory | Ensemble | Sequence[Trajectory | Ensemble] = (),
    equilibria: Equilibria | None = None,
    *,
    nullclines: bool = True,
    scale: str = "linear",
    t: Any = 0.0,
    args: Args = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the vector field of a flow of two numbers, and what organises it.

    Args:
        flow: the flow; a time-dependent one is frozen at `t`.
        box: the lower and the upper corner, two trees like the state.
        ensemble: runs of this flow, a `Trajectory`, an `Ensemble` or a sequence of them. An open mark is a start, and
            the colour says at which stable equilibrium a run ends, grey that it ends at none. Without `equilibria`,
            runs with one colour end together.
        equilibria: fixed points to mark, as `fm.equilibria(flow, box)` finds them: filled where stable, open where
            unstable, half filled for a saddle, a square where linearisation does not tell.
        nullclines: whether to draw where each component of the velocity vanishes.
        scale: `"linear"`, or `"log"` for positive states that range over orders of magnitude.
        t: the time at which the field is drawn.
        args: handed to the flow.
        ax: where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: if the box does not fit the flow or has not two numbers, or if runs or equilibria are of another
            state.
    """
    require_flow(flow)
    plane = plane_of(box, scale, flow.units)
    paths = paths_of("ensemble", ensemble, plane, whole_state)
    marks = marks_of(equilibria, plane, whole_state)
    fractions = np.linspace(0, 1, _NODES)
    numbers = plane.grid(fractions)
    velocities = plane.evaluate(_velocity, numbers, t, (flow, args))

    ax = axes_or_new(ax)
    plane.frame(ax)
    _draw_field(ax, plane, numbers, velocities)
    if nullclines:
        _draw_nullclines(ax, plane, numbers, velocities, avoid=[*paths, *marks.values()])
    draw_paths(ax, paths, groups_of(paths, plane, None if equilibria is None else marks["stable"]))
    draw_equilibria(ax, marks)
    return ax


def _draw_field(ax: Axes, plane: Plane, numbers: np.ndarray, velocities: np.ndarray) -> None:
    """Streamlines of the logarithms on logarithmic axes: matplotlib wants a grid that is even."""
    numbers, velocities = numbers[::_EVERY, ::_EVERY], velocities[::_EVERY, ::_EVERY]
    if plane.scale == "log":
        velocities, numbers = velocities / (numbers * np.log(10)), np.log10(numbers)
    ax.streamplot(
        np.linspace(numbers[0, 0, 0], numbers[0, -1, 0], len(numbers)),
        np.linspace(numbers[0, 0, 1], numbers[-1, 0, 1], len(numbers)),
        np.ma.masked_invalid(velocities[..., 0]),
        np.ma.masked_invalid(velocities[..., 1]),
        # The data's transform without its first step, which takes the logarithms.
        transform=ax.transLimits + ax.transAxes,
        density=0.8,
        color=MUTED,
        linewidth=0.5,
        arrowsize=0.6,
        zorder=1,
    )


def _draw_nullclines(
    ax: Axes, plane: Plane, numbers: np.ndarray, velocities: np.ndarray, avoid: list[np.ndarray]
) -> None:
    names = [f"{name}' = 0" for name, _ in plane.labels]
    first, second = (
        draw_zeros(ax, numbers, velocities[..., component], names[component], _DASHES[component])
        for component in (0, 1)
    )
    others = np.concatenate([np.empty((0, 2)), *avoid])
    write_on(ax, plane, first, names[0], avoid=np.concatenate([second, others]))
    write_on(ax, plane, second, names[1], avoid=np.concatenate([first, others]))


def _velocity(t: Any, y: State, operands: tuple[AbstractFlow, Args]) -> Any:
    flow, args = operands
    return ravel(flow.vector_field(t, y, args))
