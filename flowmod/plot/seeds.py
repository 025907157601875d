"""Stochastic optimizers around the flow of their mean: bands over seeds."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ._axes import axes_or_new, with_unit
from ._legend import legend_above
from ._palette import INK, LINES, line_colour

_QUANTITIES = {"loss": "potential", "distance": "distance from the flow"}


def seeds(dataset: Any, *, quantity: str = "loss", ax: Axes | None = None) -> Axes:
    """Draw stochastic optimizers against the flow's time: a band from the lowest to the highest quantile over seeds.

    The line in a band is the median. The loss has the flow's beside it, in black; the distance has that of the mean
    over seeds, dashed: what is left of it is the discretisation.

    Args:
        dataset: what `fm.compare_seeds` returned.
        quantity: `"loss"` or `"distance"`.
        ax: where to draw; a new figure by default.

    Returns:
        The axes, the vertical one logarithmic where it spans a decade.

    Raises:
        ValueError: if `dataset` is something else, it has more optimizers than can be told apart, or `quantity` is
            another.
    """
    if not {"loss_band", "distance_band", "flow_loss"} <= set(getattr(dataset, "data_vars", ())):
        raise ValueError(f"`dataset` must be what `fm.compare_seeds` returns, got {type(dataset).__name__}.")
    if quantity not in _QUANTITIES:
        raise ValueError(f"`quantity` must be {' or '.join(map(repr, _QUANTITIES))}, got {quantity!r}.")
    if dataset.sizes.get("optimizer", 0) not in range(1, len(LINES) + 1):
        raise ValueError(
            f"`dataset` must have from 1 to {len(LINES)} optimizers, the most bands that can be told apart: choose "
            "some, `dataset.sel(optimizer=[...])`."
        )
    ax = axes_or_new(ax)
    # The distance is zero at the start, where the logarithm has no place for it.
    shown = dataset.sortby("quantile").isel(time=slice(1 if quantity == "distance" else 0, None))
    times = np.asarray(shown["flow_time"])
    bands = np.asarray(shown[f"{quantity}_band"].transpose("optimizer", "quantile", "time"))
    bands = np.where(np.isfinite(bands), bands, np.nan)
    for index, name in enumerate(np.asarray(shown["optimizer"])):
        low, middle, high = bands[index][[0, bands.shape[1] // 2, -1]]
        ax.fill_between(times, low, high, color=line_colour(index), alpha=0.25, linewidth=0, label=f"_band {name}")
        ax.plot(times, middle, color=line_colour(index), linewidth=1.4, label=str(name))
        if quantity == "distance":
            of_mean = np.asarray(shown["distance_of_mean"])[index]
            ax.plot(times, of_mean, color=line_colour(index), linewidth=1.2, linestyle="--", label=f"_mean of {name}")
    if quantity == "loss":
        ax.plot(times, np.asarray(shown["flow_loss"]), color=INK, linewidth=1.2, label="flow")
    else:
        ax.plot([], [], color=INK, linewidth=1.2, linestyle="--", label="mean over seeds")
    if np.nanmin(bands) > 0 and np.nanmax(bands) > 10 * np.nanmin(bands):
        ax.set_yscale("log")
    ax.set_xlabel(with_unit("time", shown["flow_time"].attrs.get("units")))
    ax.set_ylabel(with_unit(_QUANTITIES[quantity], shown[quantity].attrs.get("units")))
    ax.margins(x=0)
    legend_above(ax, [line for line in ax.get_lines() if not str(line.get_label()).startswith("_")])
    return ax
