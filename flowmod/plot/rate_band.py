"""The band of rates along a run: from the slowest direction to the fastest, with what is known of each."""

import numpy as np
from matplotlib.axes import Axes

from ..contraction import Spectrum
from ._axes import axes_or_new, rate_label, time_label
from ._palette import INK, LINES
from ._series import mixed_scale

_FAR = 30.0
"""How many times larger than the rate the fastest decay must be for a linear axis to lose the rate."""


def rate_band(spectrum: Spectrum, *, ax: Axes | None = None) -> Axes:
    """Draw the contraction rates of all directions against time, as a band with the known rates at its edges.

    Every displacement decays at a rate in the band: the lower edge is `fm.contraction_rate`, the upper one the fastest
    decay. Lines inside are the next rates of each end, the shade around a line is its residual, within which some rate
    lies, and a time at which Lanczos did not converge has no lines.

    Args:
        spectrum: the spectrum of a trajectory, from `fm.contraction_spectrum(flow, trajectory, k=...)`.
        ax: where to draw; a new figure by default.

    Returns:
        The axes: linear if all rates are of one size, else linear around zero and logarithmic beyond.

    Raises:
        ValueError: if the spectrum is one of a state, or has no time at which it is known.
    """
    if not isinstance(spectrum, Spectrum) or np.ndim(spectrum.ts) != 1:
        raise ValueError(
            "`spectrum` must be the Spectrum of a trajectory, from `fm.contraction_spectrum(flow, trajectory)`, got "
            f"{'that of a state' if isinstance(spectrum, Spectrum) else type(spectrum).__name__}."
        )
    known = np.asarray(spectrum.converged)
    if not known.any():
        raise ValueError("`spectrum` must be known at some time, and none converged: ask for a larger `rtol`.")
    times = np.asarray(spectrum.ts, dtype=float)
    slow, fast = (np.where(known[:, None], -np.asarray(end), np.nan) for end in (spectrum.largest, spectrum.smallest))

    ax = axes_or_new(ax)
    ax.axhline(0.0, color=INK, linewidth=0.8)
    ax.fill_between(times, slow[:, 0], fast[:, 0], color=LINES[0], alpha=0.12, linewidth=0, label="all directions")
    for values, residuals, colour, label in (
        (slow, spectrum.largest_residuals, LINES[0], "contraction rate"),
        (fast, spectrum.smallest_residuals, LINES[1], "fastest decay"),
    ):
        for rank in range(values.shape[1]):
            line, width = values[:, rank], np.asarray(residuals)[:, rank]
            style = {"linewidth": 1.4, "label": label} if rank == 0 else {"linewidth": 0.5, "label": f"_{label} {rank}"}
            ax.plot(times, line, color=colour, **style)
            ax.fill_between(times, line - width, line + width, color=colour, alpha=0.3, linewidth=0)
    sizes = np.abs(np.concatenate([slow[:, 0], fast[:, 0]]))
    scale = mixed_scale(np.concatenate([slow[:, 0], fast[:, 0]]))
    if scale and np.nanmax(sizes) > _FAR * np.nanmedian(sizes[: len(times)]):
        ax.set_yscale("symlog", **scale)
    ax.margins(x=0)
    ax.set(xlabel=time_label(spectrum.units), ylabel=rate_label(spectrum.units))
    ax.legend(frameon=False)
    return ax
