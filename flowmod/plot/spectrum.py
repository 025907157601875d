"""The slowest and the fastest rate of a flow along a run: how far it contracts, and how large a step may be."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.scale import SymmetricalLogTransform
from matplotlib.ticker import NullLocator

from ._axes import axes_or_new, rate_label
from ._palette import INK, LINES
from ._series import legend_in_room, marks, mixed_scale, scale_times, series_of, times_of


def spectrum(times: Any, rates: Any, eigenvalues: Any, *, ax: Axes | None = None) -> Axes:
    """Draw contraction rates and the leading eigenvalues of `M^-1 H` along a run on one axis, with the step limit.

    Both are rates, in 1/time: neighbours approach each other at least as fast as the lower line says, and the fastest
    perturbation decays as the upper one says. Where the lower is negative, neighbours may part. The upper one limits
    the step of Euler's method to `2 / eigenvalue`, which the right axis shows.

    Args:
        times: the times, (T,), as in `trajectory.ts`.
        rates: the contraction rates, (T,) in 1/time, from `fm.contraction_rate`.
        eigenvalues: the leading eigenvalues of `M^-1 H`, (T,) in 1/time.
        ax: where to draw; a new figure by default.

    Returns:
        The axes: logarithmic if all is positive, else linear around zero and logarithmic beyond the smallest number.
        The time axis is that of `potentials`. The axis of the step limit is `ax.figure.axes[-1]`.

    Raises:
        ValueError: if `rates` or `eigenvalues` is not one number for each time.
    """
    times = times_of(times)
    rates, eigenvalues = series_of("rates", rates, times), series_of("eigenvalues", eigenvalues, times)
    rates, eigenvalues = (np.where(np.isfinite(values), values, np.nan) for values in (rates, eigenvalues))

    ax = axes_or_new(ax)
    _scale(ax, np.concatenate([rates, eigenvalues]))
    ax.plot(times, eigenvalues, color=LINES[1], linewidth=1.4, label="leading eigenvalue", **marks(times))
    ax.plot(times, rates, color=LINES[0], linewidth=1.4, label="contraction rate", **marks(times))
    scale_times(ax, "flow time", times)
    ax.set_ylabel(rate_label(()).replace("contraction ", ""))
    legend_in_room(ax, "upper")
    _step_axis(ax, eigenvalues)
    return ax


def _scale(ax: Axes, values: np.ndarray) -> None:
    mixed = mixed_scale(values)
    if mixed and np.nanmin(values) > 0:
        ax.set_yscale("log")
    elif mixed:
        ax.set_yscale("symlog", **mixed)
        ax.axhline(0.0, color=INK, linewidth=0.8)


def _step_axis(ax: Axes, eigenvalues: np.ndarray) -> None:
    """The right axis has its ticks where `2 / eigenvalue` is a power of ten: it follows the left one."""
    beside = ax.twinx()
    scale = ax.yaxis.get_transform()
    if isinstance(scale, SymmetricalLogTransform):
        beside.set_yscale("symlog", base=scale.base, linthresh=scale.linthresh, linscale=scale.linscale)
    else:
        beside.set_yscale(ax.get_yscale())
    # A step limit has no meaning at the rates, which are lower or negative.
    exponents = _decades(2 / eigenvalues[eigenvalues > 0])
    beside.set_yticks([2 / 10.0**n for n in exponents], [f"$10^{{{n}}}$" for n in exponents])
    beside.yaxis.set_minor_locator(NullLocator())
    beside.set_ylabel("step limit, 2 / eigenvalue", color=LINES[1], loc="top")
    beside.tick_params(axis="y", colors=LINES[1])

    def follow(changed: Axes) -> None:
        beside.set_ylim(changed.get_ylim())

    follow(ax)
    ax.callbacks.connect("ylim_changed", follow)


def _decades(values: np.ndarray) -> range:
    """Exponents of the powers of ten around positive values."""
    if not values.size:
        return range(0)
    return range(int(np.floor(np.log10(values.min()))), int(np.ceil(np.log10(values.max()))) + 1)
