"""The picture of one run, of its rates, of optimizers beside a flow, or of equilibria: what `--plot` draws."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .. import plot
from .._tree import size
from ..flow import Equilibria, InertialFlow
from ..simulate import Trajectory
from .models import Box
from .target import Target
from .view import view_of

_COLUMN, _PAGE = (3.4, 2.9), (6.8, 2.9)
"""Inches: one column of a journal, and its page."""


def draw_run(target: Target, trajectory: Trajectory) -> Figure:
    """States against time, and beside them the path in its landscape if that is a plane with a potential."""
    place = target.flow.position(trajectory.ys)
    if target.flow.potential is None or size(place) != 2 * len(trajectory):
        figure, ax = plt.subplots(figsize=_COLUMN, layout="constrained")
        plot.states(trajectory, ax=ax)
        return figure
    figure, (left, right) = plt.subplots(1, 2, figsize=_PAGE, layout="constrained")
    plot.states(trajectory, ax=left)
    plot.landscape(target.flow, view_of(target, target.box, place), trajectory, scale=target.scale, ax=right)
    return figure


def draw_rates(trajectory: Trajectory, rates: np.ndarray) -> Figure:
    """Contraction rates against time."""
    figure, ax = plt.subplots(figsize=_COLUMN, layout="constrained")
    plot.rate(trajectory, rates, ax=ax)
    return figure


def draw_comparison(comparison: Any) -> Figure:
    """The distance of optimizers from their flow over the step size."""
    width, height = _COLUMN
    figure, ax = plt.subplots(figsize=(1.5 * width, height), layout="constrained")
    plot.comparison(comparison, ax=ax)
    return figure


def draw_stability(fates: Any) -> Figure:
    """What Euler's method settles on over its step size, or the fates of heavy balls over step size and momentum."""
    figure, ax = plt.subplots(figsize=_COLUMN, layout="constrained")
    if "momentum" in fates.dims:
        plot.stability_map(fates, ax=ax)
    else:
        plot.bifurcation(fates, ax=ax)
    return figure


def draw_equilibria(target: Target, box: Box, equilibria: Equilibria) -> Figure:
    """The equilibria of a flow of two numbers: in its phase portrait, and in its landscape if it has a potential."""
    view = view_of(target, box)
    draws = []
    if not isinstance(target.flow, InertialFlow):  # its plane is one of positions, not of states
        draws.append(lambda ax: plot.phase_portrait(target.flow, view, (), equilibria, scale=target.scale, ax=ax))
    if target.flow.potential is not None:
        draws.append(lambda ax: plot.landscape(target.flow, view, equilibria=equilibria, scale=target.scale, ax=ax))
    width, height = _COLUMN
    size = (width * len(draws), height)
    figure, axes = plt.subplots(1, len(draws), figsize=size, layout="constrained", squeeze=False)
    for draw, ax in zip(draws, axes.flat, strict=True):
        draw(ax)
    return figure
