"""One positive number of each layer of a network, along a run."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from ._axes import axes_or_new
from ._series import draw_lines, on_log_axis, require_lines, scale_times, series_of, times_of


def layers(times: Any, values: Mapping[str, Any], *, label: str, ax: Axes | None = None) -> Axes:
    """Draw a positive number of each layer against flow time, as the norm of its velocity or a condition number.

    Args:
        times: the times, (T,), as in `trajectory.ts`.
        values: by the name of the layer its numbers, (T,), for at most 18 layers. What is zero or not finite has no
            point.
        label: what the number is, as in `"condition number"`.
        ax: where to draw; a new figure by default.

    Returns:
        The axes, logarithmic; the time axis is that of `potentials`.

    Raises:
        ValueError: if a layer has not one number for each time, or a negative one, or there are too many layers.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"`values` must be a mapping from layers to arrays (T,), got {type(values).__name__}.")
    require_lines("values", values)
    times = times_of(times)
    lines = {}
    for name, numbers in values.items():
        argument = f"values[{name!r}]"
        lines[name] = times, on_log_axis(argument, series_of(argument, numbers, times))

    ax = axes_or_new(ax)
    ax.set_yscale("log")
    draw_lines(ax, lines)
    scale_times(ax, "flow time", times)
    ax.set_ylabel(label)
    return ax
