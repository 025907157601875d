"""Axes: the caller's or new ones, and labels with units."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ..flow import Units

_COLUMN = (3.4, 2.8)
"""Inches: one column of a journal, so that what is legible on the screen is legible in print."""


def axes_or_new(ax: Any) -> Axes:
    """`ax`, or the axes of a new figure one journal column wide."""
    if ax is None:
        return plt.subplots(figsize=_COLUMN, layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise ValueError(f"`ax` must be one matplotlib `Axes`, got {type(ax).__name__}: pick one, as in `axes[0]`.")
    return ax


def with_unit(name: str, unit: str | None) -> str:
    """`name (unit)`; a number without a dimension, whose unit is written "1", has its name only."""
    return name if unit in (None, "", "1") else f"{name} ({unit})"


def time_label(units: Units) -> str:
    return with_unit("time", dict(units).get("time"))


def rate_label(units: Units) -> str:
    unit = dict(units).get("time", "1")
    return f"contraction rate (1/{'time' if unit in ('', '1') else unit})"
