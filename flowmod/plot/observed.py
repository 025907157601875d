"""What several runs recorded on the way, such as a test accuracy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..simulate import Trajectory
from ._runs import draw_runs, require_runs


def observed(
    runs: Mapping[str, Trajectory], name: str, *, clock: Mapping[str, Any] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw one number that `simulate(..., observe=fn)` recorded in several runs.

    Args:
        runs: the runs by name, at most 18, of an `observe` that returned a dict.
        name: the number's key in `trajectory.observed`.
        clock: by the names of the runs the wall time in s at which each saved time was reached, (T,); flow time by
            default.
        ax: where to draw; a new figure by default.

    Returns:
        The axes. The number's axis is linear; the time axis is that of `potentials`.

    Raises:
        ValueError: if a run did not record the number, it is no scalar, the runs have different units, or `clock` has
            not one number for each saved time of each run.
    """
    require_runs(runs)

    def values(run_name: str, run: Trajectory) -> np.ndarray:
        known = run.observed if isinstance(run.observed, Mapping) else {}
        if name not in known:
            raise ValueError(
                f"`name` must be what `runs[{run_name!r}]` observed, {sorted(known)}, got {name!r}: record it with "
                f'`simulate(..., observe=lambda t, y, args: {{"{name}": ...}})`.'
            )
        values = np.asarray(known[name])
        if values.shape != np.shape(run.ts):
            raise ValueError(
                f"`name` must be a scalar at each of the {len(run)} times, got {name!r} of shape {values.shape} in "
                f"`runs[{run_name!r}]`: record one number of it."
            )
        return values

    return draw_runs(runs, values, (name.replace("_", " "), f"observed.{name}"), clock, ax)
