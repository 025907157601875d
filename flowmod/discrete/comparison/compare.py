"""A flow and discrete optimizers on one clock."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import dtype_of, is_traced
from ..._typing import Args, State
from ...flow import AbstractFlow
from ._checks import check_flow, check_optimizers, check_start, check_step_sizes, check_time
from ._fates import FATES, fates
from ._order import Scale, error, fitted_order
from ._prediction import Prediction
from ._reference import run_flow
from ._runs import Plan, loss_and_gradient, run_all
from ._schedule import schedule
from ._table import Result, table

if TYPE_CHECKING:
    import xarray as xr

_TOLERANCES = {np.dtype("float64"): 1e-9, np.dtype("float32"): 1e-5}


def compare(
    flow: AbstractFlow,
    optimizers: Mapping[str, Any],
    y0: State,
    step_sizes: Any,
    t1: Any,
    *,
    args: Args = None,
    rtol: float | None = None,
    atol: float | None = None,
    solver: diffrax.AbstractSolver | str | None = None,
    max_steps: int = 100_000,
) -> "xr.Dataset":
    """How far discrete optimizers are from the flow that they imitate, and what becomes of them.

    Every optimizer runs with every step size `h`, and its iterate `n` is compared with the flow at the time `n h`,
    where the flow's one run has saved a state. A run has at least 60 updates, and as many as lead to `t1`, so that
    large step sizes run on beyond it. 61 of its iterates are recorded, evenly spread from the first to the last.

    The fate of a run is the last in this list that applies:

    - `"converged"`: the loss ended no higher than it began, and settled. It may still be falling, or far from the
      flow: the distance tells.
    - `"oscillating"`: in the last third of the updates the loss rose, between any two of them, by more than a
      thousandth of the flow's drop: a gradient flow's never does.
    - `"worse than its start"`: the final loss is above that of the start, by more than rounding.
    - `"diverged"`: the loss or the state is not finite, or the final loss is above the start by more than ten times
      the flow's drop.

    The flow's drop is that of its loss until the time of the run's last update. Where the flow can't be run so far
    beyond `t1`, the distances from it are NaN and its drop is that of the time before.

    The `error` of a step size is the largest distance up to `t1`, and `order` its exponent: the slope of a line
    through the logarithms. Only step sizes count that converged, are below a quarter of the predicted limit if there
    is one, and whose error is below 5 % of the flow's path and above ten times the flow's tolerance; of these the five
    smallest. `order` is NaN if fewer than three remain: an optimizer of another flow, such as Adam, keeps its distance
    and has none.

    `predicted_limit` is known for what `fm.discretize` makes, and for plain gradient descent, which is recognised by
    its updates: the smallest `fm.step_limit` at five evenly spread times of the flow up to `t1`. It is a limit of
    stability near the flow, not a promise about runs that leave it.

    Args:
        flow: a `GradientFlow`, or another flow with a potential in its whole state.
        optimizers: a dict from a name to a function from a step size to an optax transformation: `optax.sgd`,
            `lambda h: fm.discretize(flow, h)`. The step size is traced: one program serves all of them.
        y0: the start, any pytree of float arrays, or an Equinox module.
        step_sizes: positive numbers, (S,), the time that one update takes.
        t1: the time up to which they are compared.
        args: handed to the flow.
        rtol: relative error of the flow's steps; 1e-9 for a float64 state, 1e-5 for float32.
        atol: absolute error; a thousandth of `rtol`.
        solver: as for `fm.simulate`; `"stiff"` for an implicit one.
        max_steps: of the flow's run.

    Returns:
        An `xarray.Dataset` with the dimensions `optimizer`, `step_size` and `time`, which counts the records. Their
        times are the coordinate `flow_time`, the numbers of updates `update`, both over step size and record.
        Variables: `loss`, `distance` (Euclidean), `distance_metric` (in the flow's metric at the flow's state),
        `flow_loss`, `fate`, `error`, `order`, `predicted_limit` and `limit_at_start`.

    Raises:
        ValueError: for wrong input, and for an optimizer that fails in Python; one that returns NaN has its fate.
        SimulationError: if the flow can't be run until `t1`.

    Example:
        ```python
        optimizers = {"euler": lambda h: fm.discretize(flow, h), "adam": optax.adam}
        print(fm.compare(flow, optimizers, y0, jnp.geomspace(1e-3, 1, 12), t1=10.0))
        ```
    """
    if is_traced(flow, y0, step_sizes, t1, args, rtol, atol):
        raise ValueError(
            "`compare` runs outside of JAX transformations only, but an argument is traced: call it with the values."
        )
    potential = check_flow(flow)
    y0 = check_start(y0)
    steps, end, dtype = check_step_sizes(step_sizes), check_time(t1), dtype_of(y0)
    chosen = check_optimizers(optimizers, float(np.median(steps)))
    plan = schedule(steps, end, dtype)
    rtol = _TOLERANCES.get(dtype, 1e-9) if rtol is None else rtol
    atol = rtol / 1000 if atol is None else atol
    method = {"rtol": rtol, "atol": atol, "solver": solver, "max_steps": max_steps}
    reference, losses, attributes = run_flow(flow, potential, y0, plan, args, method)
    start = loss_and_gradient(reference)
    scale = Scale.of(reference.times, reference.path, end, rtol)
    flow_loss = losses[plan.rows]
    prediction = Prediction(reference, plan.limit_rows)
    wanted = Plan(jnp.asarray(steps, dtype), jnp.asarray(plan.updates), jnp.asarray(plan.rows))
    results = []
    for optimizer in chosen:
        limits = prediction.limits(optimizer, float(np.median(steps)))
        records = jax.tree.map(np.asarray, run_all(optimizer, reference, start, wanted))
        found = fates(records.loss, records.rise, flow_loss)
        errors = error(records.distance, plan.times, end)
        limit = float(np.min(limits))
        order = fitted_order(errors, steps, found == FATES[0], limit, scale)
        results.append(Result(optimizer.name, records, found, errors, order, float(limits[0]), limit))
    return table(results, steps, plan, flow_loss, flow.units, {"t1": end, "rtol": rtol} | attributes)
