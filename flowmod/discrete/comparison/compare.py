"""A flow and discrete optimizers on one clock."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import diffrax
import numpy as np

from ..._tree import dtype_of, is_traced
from ..._typing import Args, State
from ...flow import AbstractFlow
from ..fates import fates
from ._checks import check_flows, check_optimizers, check_step_sizes, check_time, check_tolerances, check_updates
from ._notes import notes
from ._order import error, fitted_order
from ._progress import progress as progress_bar
from ._runs import Records
from ._schedule import RECORDS, Schedule, schedule
from ._starts import check_starts
from ._sweep import Sweep, sweep
from ._table import Axes, Result, table

if TYPE_CHECKING:
    import xarray as xr


def compare(
    flow: AbstractFlow | Mapping[str, AbstractFlow],
    optimizers: Mapping[str, Any],
    y0: State,
    step_sizes: Any,
    t1: Any,
    *,
    starts: bool = False,
    updates: int = RECORDS,
    args: Args = None,
    rtol: float | None = None,
    atol: Any = None,
    solver: diffrax.AbstractSolver | str | None = None,
    max_steps: int = 100_000,
    progress: bool = False,
) -> "xr.Dataset":
    """How far discrete optimizers are from the flow that they imitate, and what becomes of them.

    Every optimizer runs with every step size `h`, and its iterate `n` is compared with the flow at the time `n h`,
    where the flow's own run has saved a state. A run has at least 60 updates, and as many as lead to `t1`, so that
    large step sizes run on beyond it. 61 of its iterates are recorded, evenly spread from the first to the last.

    All step sizes and starts of an optimizer are one program, and so are flows that differ in their numbers only. Runs
    of nearly the same length go side by side, and a group of them ends when each is at its end or not finite any more.
    Where a step factorises a matrix the runs go one by one.

    The clock is the step size that the sweep gives. With momentum `b` a steady step is `1/(1 - b)` times as large, so
    that at the learning rate `h` the flow would seem `1/(1 - b)` times as fast: give such an optimizer `(1 - b) h`, as
    in `lambda h: optax.sgd((1 - b) * h, momentum=b)`. Its `predicted_limit` is one of `h`, too.

    The fate of a run is told by its last 128 iterates:

    - `"converged"`: it rests, or has next to nothing to gain;
    - `"converging"`: it approaches a limit that is further away. It may be far from the flow: the distance tells;
    - `"periodic"`: its iterates repeat themselves, after `period` updates;
    - `"irregular"`: it is none of these: chaotic, quasi-periodic, or not settled yet;
    - `"diverged"`: loss or state is not finite, or the final loss is above the start by more than ten times the flow's
      drop, which is that until the run's last update, as far as the flow can be run.

    The `error` of a step size is the largest distance up to `t1`, and `order` its exponent: the slope of a line
    through the logarithms. Only step sizes count that are below a quarter of the predicted limit if there is one, whose
    run neither diverged nor repeats itself, and whose error is below 5 % of the flow's path and above ten times the
    flow's tolerance; of these the five smallest. `order` is NaN if fewer than three remain: an optimizer of another
    flow, such as Adam, keeps its distance and has none. `order_until` is the end of the asymptotic regime: the largest
    step size up to which the slope between step sizes a factor of two apart, or neighbours, is within 0.2 of the order.

    `predicted_limit` is known for what `fm.discretize` makes, and for gradient descent, heavy ball and Nesterov's
    momentum of other origin, which are recognised by their answer to a single gradient: what `fm.bears` says, over the
    largest curvature at five evenly spread times of the flow up to `t1`. It is a limit of stability near the flow, not
    a promise about runs that leave it. `margin` is the step size over it: above one, it is not stable.

    What can't be compared does not stop the rest: an optimizer that returns NaN and a start without a finite potential
    have diverged, a start at a critical point converged without an order, and beside a flow that can't be run until
    `t1` from one of several starts distances are NaN. The attribute `notes` names them.

    Args:
        flow: a `GradientFlow`, or another flow with a potential in its whole state; or a dict from names to flows, such
            as those of one potential in several metrics.
        optimizers: a dict from a name to a function from a step size, or from a step size and a flow, to an optax
            transformation: `optax.sgd`, `lambda h, flow: fm.discretize(flow, h)`. The step size is traced: one program
            serves all of them.
        y0: the start, any pytree of float arrays, or an Equinox module.
        step_sizes: positive numbers, (S,), the time that one update takes.
        t1: the time up to which they are compared.
        starts: whether `y0` holds several starts, along a leading axis of every float leaf.
        updates: the fewest updates of a run, at least 60.
        args: handed to the flow.
        rtol: relative error of the flow's steps; 1e-9 for a float64 state, 1e-5 for float32.
        atol: absolute error; a thousandth of `rtol`.
        solver: as for `fm.simulate`; `"stiff"` for an implicit one.
        max_steps: of the flow's run.
        progress: show a bar on the terminal.

    Returns:
        An `xarray.Dataset` with the dimensions `optimizer`, `step_size` and `time`, which counts the records, after
        `optimizer` also `flow` for a dict of flows and `start` for several starts. The records' times are the
        coordinate `flow_time`, the numbers of updates `update`, both over step size and record. Variables: by record
        `loss`, `distance` (Euclidean), `distance_metric` (in the flow's metric at the flow's state) and `flow_loss`
        (which has no optimizer); by run `fate`, `period`, `error` and `margin`; for all step sizes together `order`,
        `order_until`, `predicted_limit` and `limit_at_start`.

    Raises:
        ValueError: for wrong input, and for an optimizer that fails in Python.
        SimulationError: if there is one start, and the flow can't be run from it until `t1`.

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
    flows, begin = check_flows(flow), check_starts(y0, starts)
    steps, end = check_step_sizes(step_sizes), check_time(t1)
    rtol, atol = check_tolerances(rtol, atol, dtype_of(begin.tree))
    chosen = check_optimizers(optimizers, float(np.median(steps)), flows)
    order = np.argsort(steps, kind="stable")
    plan = schedule(steps[order], end, check_updates(updates))
    method = {"rtol": rtol, "atol": atol, "solver": solver, "max_steps": max_steps}
    with progress_bar(progress, len(chosen) * len(flows)) as tell:
        sweeps = [sweep(each, chosen, begin, plan, args, method, tell) for each in flows.values()]
    back = np.argsort(order, kind="stable")
    results = [[_result(each, index, plan, back) for each in sweeps] for index in range(len(chosen))]
    axes = Axes(
        [optimizer.name for optimizer in chosen],
        list(flows) if isinstance(flow, Mapping) else None,
        len(begin) if starts else None,
        steps,
        plan.updates[back],
        plan.times[back],
    )
    attributes = {"t1": end, "rtol": rtol, "solver": sweeps[0].outcome.solver}
    attributes |= {"notes": "\n".join(notes(sweeps, axes))}
    return table(results, axes, next(iter(flows.values())).units, attributes)


def _result(found: Sweep, index: int, plan: Schedule, back: np.ndarray) -> Result:
    """What is known of one optimizer, its step sizes in the order of the user."""
    records: Records = found.records[index]
    limit = np.min(found.limits[index], axis=-1)
    start, end, drop = records.loss[..., 0], records.loss[..., -1], _drop(records.flow_loss)
    fate, period = fates(start, end, drop, records.tail_loss, records.tail_signal)
    errors = error(records.distance, plan.times, plan.t1)
    usable = np.where(np.isin(fate, ("periodic", "diverged")), np.nan, errors)
    fits = [
        fitted_order(row, plan.step_sizes, *numbers)
        for row, *numbers in zip(usable, limit, found.scale.path, found.scale.floor, strict=True)
    ]
    order, until = np.transpose(fits)
    return Result(
        loss=records.loss[:, back],
        distance=records.distance[:, back],
        distance_metric=records.distance_metric[:, back],
        flow_loss=records.flow_loss[:, back],
        fate=fate[:, back],
        period=period[:, back],
        error=errors[:, back],
        margin=(plan.step_sizes / limit[:, None])[:, back],
        order=order,
        order_until=until,
        predicted_limit=limit,
        limit_at_start=found.limits[index][:, 0],
    )


def _drop(flow_loss: np.ndarray) -> np.ndarray:
    """How far the flow lowers the loss until the last record at which it is known."""
    last = np.maximum(np.isfinite(flow_loss).sum(axis=-1, keepdims=True) - 1, 0)
    return np.abs(flow_loss[..., 0] - np.take_along_axis(flow_loss, last, axis=-1)[..., 0])
