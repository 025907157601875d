"""Twin runs: whether they approach each other as fast as the contraction rate says."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ._axes import axes_or_new
from ._palette import INK, LINES
from ._series import on_log_axis, series_of, times_of

_ROUNDING = 1e-6
_HEADROOM = 3.0


def twins(times: Any, distances: Any, rates: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the distance of twin runs relative to their first one, with the envelope `exp(-integral of the rate)`.

    Where a flow contracts at the rates along the path between the twins, no distance in its metric leaves the
    envelope. What lies above it is shaded: there the rate does not hold between the twins, the distance is that of
    another metric, or it has come down to the error of the integration.

    Args:
        times: the times, (T,), as in `trajectory.ts`.
        distances: the distances of one pair of twins, (T,), or of several, (pairs, T), in the metric of the rate. Zero
            has no point.
        rates: the rate, one number in 1/time, or one for each time, (T,), which is integrated by the trapezoidal rule:
            save as many times as that needs.
        ax: where to draw; a new figure by default.

    Returns:
        The axes, logarithmic: the envelope is drawn as far as it is near the distances.

    Raises:
        ValueError: if a distance is negative or starts at zero, or if there is not one distance or not one finite rate
            for each time.
    """
    times = times_of(times)
    pairs = _relative(distances, times)
    one = np.ndim(rates) == 0
    rates = series_of("rates", np.full(times.shape, rates) if one else rates, times)
    if not np.isfinite(rates).all():
        raise ValueError("`rates` must be finite, or there is no envelope: leave out the times that have no rate.")
    # By its logarithm: an envelope that grows at a network's rates soon has no float.
    exponent = -np.concatenate([[0.0], np.cumsum(np.diff(times) * (rates[1:] + rates[:-1]) / 2)])
    low, high = np.nanmin(pairs) / _HEADROOM, np.nanmax(pairs) * _HEADROOM
    envelope = np.exp(np.clip(exponent, np.log(low) - 1, np.log(high) + 1))
    label = f"envelope, rate {float(rates[0]):.3g}" if one else r"envelope, $\exp(-\int\,$rate$\,dt)$"

    ax = axes_or_new(ax)
    ax.set_yscale("log")
    ax.plot(times, envelope, color=INK, linestyle="--", linewidth=1.2, label=label, zorder=3)
    for index, pair in enumerate(pairs):
        name = ("twins" if len(pairs) == 1 else f"{len(pairs)} pairs of twins") if index == 0 else f"_pair {index}"
        ax.plot(times, pair, color=LINES[0], linewidth=1.4 if len(pairs) == 1 else 0.8, label=name)
    _mark(ax, times, pairs, envelope, np.log(pairs) > exponent + _ROUNDING)
    ax.set_ylim(low, high)
    ax.margins(x=0)
    ax.set(xlabel="flow time", ylabel="distance / distance at the start")
    ax.legend(frameon=False)
    return ax


def _relative(distances: Any, times: np.ndarray) -> np.ndarray:
    """Each pair's distances in units of its first one, (pairs, T)."""
    array = np.asarray(distances, dtype=float)
    if array.ndim not in (1, 2) or array.shape[-1] != len(times) or not array.size:
        raise ValueError(
            f"`distances` must be one number for each of the {len(times)} times, (T,) or (pairs, T), got shape "
            f"{array.shape}."
        )
    pairs = on_log_axis("distances", np.atleast_2d(array))
    if np.isnan(pairs[:, 0]).any():
        raise ValueError(
            "`distances` must start positive and finite: start the twins apart, or leave out a pair that is one run."
        )
    return pairs / pairs[:, :1]


def _mark(ax: Axes, times: np.ndarray, pairs: np.ndarray, envelope: np.ndarray, above: np.ndarray) -> None:
    """Shade between the envelope and what lies above it, with a mark at each time: it may be above by little."""
    shade = {"color": LINES[1], "alpha": 0.25, "linewidth": 0}
    for pair, out in zip(pairs, above, strict=True):
        if out.any():
            ax.fill_between(times, pair, envelope, where=out.tolist(), interpolate=True, **shade)
    if above.any():
        points = np.broadcast_to(times, pairs.shape)[above], pairs[above]
        ax.plot(*points, linestyle="none", marker="o", markersize=2.5, color=LINES[1], label="above the envelope")
