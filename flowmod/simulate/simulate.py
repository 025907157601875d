"""`simulate`: a flow and a start in, a trajectory out."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._results import RESULTS
from .._tree import is_traced
from .._typing import Args, State
from ..flow import AbstractFlow
from ._advice import advice
from ._interpolation import Interpolation, join
from ._leg import Leg, Start, run_leg
from ._measures import FlowMeasures, RecordedMeasures
from ._packing import Packing
from ._postmortem import diagnose
from ._program import compiled
from ._progress import Progress
from ._setup import Method, Setup, prepare
from ._solvers import is_explicit
from .trajectory import Trajectory

_BUFFER = 2**20
"""Numbers that the buffer of one leg holds; a longer run takes more legs."""

_run_leg = compiled(run_leg)


class SimulationError(RuntimeError):
    """A run that failed on its way; `.trajectory` is the run up to there."""

    trajectory: Trajectory

    def __init__(self, message: str, trajectory: Trajectory):
        super().__init__(message)
        self.trajectory = trajectory


def simulate(
    flow: AbstractFlow,
    y0: State,
    t1: Any = None,
    *,
    t0: Any = 0.0,
    ts: Any = None,
    solver: diffrax.AbstractSolver | str | None = None,
    rtol: Any = None,
    atol: Any = None,
    args: Args = None,
    observe: Callable[[Any, State, Args], PyTree] | None = None,
    until: Callable[[Any, State, Args], Any] | None = None,
    dense: bool = False,
    progress: bool = False,
    throw: bool = True,
    max_steps: int = 100_000,
    controller: diffrax.AbstractStepSizeController | None = None,
    dt0: Any = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
) -> Trajectory:
    """Run a flow from a start.

    Inside `jax.jit`, `vmap` or `grad` pass `ts`; checks of traced values are skipped and `result` is an array.

    Args:
        flow: the flow.
        y0: the start, any pytree of float arrays (the pair `(y, velocity)` for an `InertialFlow`).
        t1: the end time; the last of `ts` by default.
        t0: the start time.
        ts: the times to save at, (T,), ascending; by default the start and every accepted step.
        solver: `None` for Tsit5, explicit and adaptive; `"stiff"` for Kvaerno5 with Newton iterations, for states of
            up to a few hundred numbers; or any diffrax solver.
        rtol: relative error of a step; 1e-6 for a float64 state, 1e-4 for float32.
        atol: absolute error of a step, in the state's unit, a number or a tree like the state; 1e-9 or 1e-6.
        args: handed to everything that is a function of the state.
        observe: `observe(t, y, args)`, a pytree of arrays to save beside the states.
        until: `until(t, y, args)` stops the run: a boolean, after the step in which it becomes true; a float, where it
            crosses zero. `fm.AtEquilibrium(flow)` is one.
        dense: keep the solver's interpolant, for `trajectory(t)`.
        progress: show a bar on the terminal.
        throw: raise if the run fails; otherwise look at `trajectory.result` and `trajectory.reason`.
        max_steps: give up after so many steps, accepted or not.
        controller: `fm.MetricController(flow, rtol, atol)`, for errors in the flow's metric, or a diffrax step-size
            controller; overrides `rtol` and `atol` for the steps.
        dt0: the first step.
        adjoint: how diffrax differentiates the run; `diffrax.RecursiveCheckpointAdjoint()` by default.

    Returns:
        A `Trajectory`.

    Raises:
        ValueError: for wrong input, also where the flow is not defined at the start.
        SimulationError: if the run fails on its way and `throw` is true; it carries `.trajectory`.

    Example:
        ```python
        trajectory = fm.simulate(fm.bio.toggle_switch(), {"u": 0.1, "v": 2.0}, t1=20.0)
        print(trajectory)
        ```
    """
    method = Method(solver, rtol, atol, observe, until, max_steps, controller, dt0, adjoint)
    setup = prepare(flow, "y0", y0, (t0, t1, ts), args, method)
    if is_traced(flow, y0, t0, t1, ts, args, rtol, atol, dt0):
        _require_traceable(ts, dense, progress)
        return _traced_run(setup, adjoint)
    options = setup.options._replace(dense=dense, capacity=_capacity(setup.packing, ts, dense))
    setup = setup._replace(options=options)
    try:
        trajectory = _assemble(setup, *_run_legs(setup, max_steps, progress))
    except jax.errors.TracerArrayConversionError:
        # A tracer hides in a function that the flow, `observe` or `until` closes over.
        _require_traceable(ts, dense, progress)
        return _traced_run(setup._replace(options=setup.options._replace(capacity=max_steps, dense=False)), adjoint)
    if throw and not trajectory.result.is_okay:
        raise _error(trajectory, float(setup.t0))
    return trajectory


def _require_traceable(ts: Any, dense: bool, progress: bool) -> None:
    if ts is None or dense or progress:
        raise ValueError(
            "Inside a JAX transformation `simulate` needs `ts`, the times to save at, and neither `dense` nor "
            "`progress`: the number of steps is not known there."
        )


def _capacity(packing: Packing, ts: Any, dense: bool) -> int:
    """How many steps a leg has room for."""
    if ts is not None and not dense:
        return 2**16  # nothing is kept for each step
    per_step = packing.layout.size * (8 if dense else 1)
    return max(16, min(4096, _BUFFER // per_step))


def _run_legs(setup: Setup, max_steps: int, shown: bool) -> tuple[list[Leg], list[list[float]]]:
    """Legs until the end, a failure or `max_steps`, and their reports."""
    legs, reports, steps = [], [], 0
    start, times = Start(setup.t0, setup.packing.pack(setup.leaves, np), None), setup.ts
    bar = Progress(shown, float(setup.t0), float(setup.t1), setup.options.capacity)
    try:
        while True:
            budget = min(bar.budget, max_steps - steps)
            leg = _run_leg(*setup.operands(start, times, np.asarray(budget)))
            legs.append(leg)
            reports.append(np.asarray(leg.report).tolist())
            end_t, code, accepted, rejected = reports[-1]
            steps += int(accepted + rejected)
            bar.leg_done(end_t, len(legs))
            if code != RESULTS.max_steps_reached.value or steps >= max_steps:
                return legs, reports
            start, times = leg.end, None if times is None else np.maximum(times, leg.end.t)
    finally:
        bar.close()


def _assemble(setup: Setup, legs: list[Leg], reports: list[list[float]]) -> Trajectory:
    """Un-pad and join the legs, and find the cause of a failure."""
    flow, packing = setup.flow, setup.packing
    times, vectors, observed = _saved(setup, legs)
    accepted, rejected = (int(sum(report[index] for report in reports)) for index in (2, 3))
    end_t, result = reports[-1][0], RESULTS(int(reports[-1][1]))
    reason = ""
    if not result.is_okay:
        mean_step = (end_t - float(setup.t0)) / max(accepted, 1)
        last = packing.state(jnp.asarray(legs[-1].end.vector), setup.rest)
        explicit = is_explicit(setup.options.solver)
        result, reason = diagnose(flow, result, end_t, last, setup.args, float(setup.t1), mean_step, explicit)
    interpolation = None
    if setup.options.dense:
        interpolation = Interpolation(
            join([leg.interpolation for leg in legs if leg.interpolation is not None]), packing, setup.rest
        )
    return Trajectory(
        ts=times,
        ys=packing.state(vectors, setup.rest),
        dissipated=packing.dissipated(vectors),
        observed=observed,
        stats={"accepted": accepted, "rejected": rejected},
        result=result,
        end_time=end_t,
        measures=FlowMeasures(flow, setup.args, setup.rest_tree),
        interpolation=interpolation,
        reason=reason,
        solver=type(setup.options.solver).__name__,
        units=flow.units,
    )


def _saved(setup: Setup, legs: list[Leg]):
    """Times, vectors and observations of all legs without their padding."""
    parts, before = [], 0
    for leg in legs:
        ts = np.asarray(leg.ts)
        count = int(np.count_nonzero(np.isfinite(ts)))
        # With `ts` every leg saves the times before it once more, at its start; they are passed over.
        first = 0 if setup.ts is None else before
        kept = (ts, leg.vectors, leg.observed)
        parts.append(jax.tree.map(lambda leaf, first=first, count=count: np.asarray(leaf)[first:count], kept))
        before = max(before, count)
    end = legs[-1].end
    if (
        setup.options.until is not None
        and setup.ts is None
        and float(end.t) > parts[-1][0][-1:].max(initial=float(setup.t0))
    ):
        # The place where `until` was met lies between two steps.
        parts.append(jax.tree.map(lambda leaf: np.asarray(leaf)[None], (end.t, end.vector, legs[-1].end_observed)))
    if len(parts) == 1:
        return parts[0]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _traced_run(setup: Setup, adjoint) -> Trajectory:
    packing, options = setup.packing, setup.options
    if adjoint is None:
        options = options._replace(adjoint=diffrax.RecursiveCheckpointAdjoint())
    setup = setup._replace(options=options)
    start = Start(setup.t0, packing.pack(setup.leaves), None)
    leg = run_leg(*setup.operands(start, setup.ts, options.capacity))
    measures = FlowMeasures(setup.flow, setup.args, setup.rest_tree)
    # Worked out here, because the flow itself can't leave a transformation; what nobody uses is not computed.
    names = ("energies", "slopes") if packing.layout.ledger else ()
    ys = packing.state(leg.vectors, setup.rest)
    recorded = {name: measures.along(name, leg.ts, ys) for name in names}
    _, code, accepted, rejected = leg.report
    return Trajectory(
        ts=leg.ts,
        ys=ys,
        dissipated=packing.dissipated(leg.vectors),
        observed=leg.observed,
        stats={"accepted": accepted.astype(int), "rejected": rejected.astype(int)},
        result=code.astype(int),
        end_time=leg.end.t,
        measures=RecordedMeasures(recorded),
        interpolation=None,
        reason="",
        solver=type(options.solver).__name__,
        units=setup.flow.units,
    )


def _error(trajectory: Trajectory, t0: float) -> Exception:
    sentence = f"{trajectory.reason} Try: {advice(trajectory.result)}"
    if trajectory.end_time <= t0 and trajectory.result >= RESULTS.nonfinite_potential:
        return ValueError(f"`y0` is no state that this flow can start from. {sentence}")
    return SimulationError(f"The run stopped at t = {float(trajectory.end_time):.6g}. {sentence}", trajectory)
