"""What an optimizer settles on, over its step size."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._tree import dtype_of, is_traced
from ..._typing import Args, State
from ...flow import GradientFlow, InertialFlow, Units
from .._family import Family
from ..comparison._checks import check_step_sizes
from ..comparison._starts import check_starts
from ..fates import TAIL
from ..methods import discretize
from ._checks import check_count, loss_at_start, require_scalar
from ._predicted import predicted_limits
from ._settled import Settled, settle

if TYPE_CHECKING:
    import xarray as xr


def bifurcation(
    flow: GradientFlow | InertialFlow,
    y0: State,
    step_sizes: Any,
    *,
    observe: Callable[[State, Args], Any] | None = None,
    transient: int = 2000,
    keep: int = TAIL,
    method: str = "euler",
    momentum: float | None = None,
    args: Args = None,
) -> "xr.Dataset":
    """What the discretised flow settles on for each step size: a point, a cycle, or chaos.

    Beyond its step limit gradient descent often does not diverge: it goes round a cycle of two iterates, whose period
    doubles again and again as the step size grows, until there is none.

    Args:
        flow: what `fm.discretize` takes: a gradient flow, or an inertial one with a method with momentum.
        y0: the start of all runs.
        step_sizes: positive numbers, (S,).
        observe: `observe(y, args)`, the number to look at; by default the potential.
        transient: how many updates come before the iterates that are kept.
        keep: how many iterates are kept, K; the period is told from the last 128 of the run.
        method: of `fm.discretize`.
        momentum: for a method that has one.
        args: handed to the flow.

    Returns:
        An `xarray.Dataset` with the dimensions `step_size` and `iterate`: `observed`, (S, K), NaN where a run is not
        finite; `fate`, `period` and `growth` as those of `fm.stability_map`, (S,); and the `predicted_limit` at the end
        of the best run, a number, NaN for an inertial flow.

    Raises:
        ValueError: for wrong input.

    Reference: M. J. Feigenbaum, "Quantitative universality for a class of nonlinear transformations" (1978).
    """
    if is_traced(flow, y0, step_sizes, args):
        raise ValueError("`bifurcation` runs outside of JAX transformations only, but an argument is traced.")
    y0, steps = check_starts(y0, False).tree, check_step_sizes(step_sizes)
    transient, keep = check_count("transient", transient, 0), check_count("keep", keep, 1)

    def make(step_size: Any) -> Any:
        return discretize(flow, step_size, method, args, momentum)

    middle = float(np.median(steps))
    usual, potential = make(middle), flow.potential
    seen, look = ("potential", potential) if observe is None else ("observed", observe)
    require_scalar("observe", look, y0, args)
    start = loss_at_start(potential, y0, args)
    family = Family("method", make, potential, args)
    runs = settle(family, y0, (steps.astype(dtype_of(y0)),), transient + keep, max(keep, TAIL), look)
    fate, period = runs.fates(start)
    limit = predicted_limits(lambda _: usual, np.zeros(1), runs.best, middle)[0]
    return _table(runs, fate, period, steps, keep, limit, seen, flow.units)


def _table(
    runs: Settled, fate, period, steps: np.ndarray, keep: int, limit: float, seen: str, units: Units
) -> "xr.Dataset":
    import xarray as xr

    time = {"units": dict(units)["time"]} if "time" in dict(units) else {}
    each = ("step_size",)
    observed = runs.observed[:, -keep:]
    variables = {
        "observed": ((*each, "iterate"), observed, {"long_name": seen}),
        "fate": (each, fate, {"long_name": "what became of the run"}),
        "period": (each, period, {"long_name": "period, in updates"}),
        "growth": (each, runs.growth, {"long_name": "growth of the distance to a neighbour per update"}),
        "predicted_limit": ((), limit, {"long_name": "step limit at the end of the best run"} | time),
    }
    coords = {
        "step_size": ("step_size", steps, {"long_name": "step size"} | time),
        "iterate": np.arange(observed.shape[1]),
    }
    return xr.Dataset(variables, coords=coords)
