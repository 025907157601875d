"""`simulate`: a flow and a start in, a trajectory out."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._results import RESULTS
from .._tree import combine, dtype_of, floats, is_float_array, is_traced, size
from .._typing import Args, State
from ..flow import AbstractFlow
from ._advice import advice
from ._checks import check_flow, check_max_steps, check_state, check_times, check_tolerances
from ._interpolation import Interpolation, join
from ._leg import Leg, LegOptions, Start, run_leg
from ._measures import FlowMeasures, RecordedMeasures
from ._postmortem import diagnose
from ._progress import Progress
from ._solvers import choose_solver, is_explicit, tolerances
from .trajectory import Trajectory

_BUFFER = 2**20
"""Numbers that the buffer of one leg holds; a longer run takes more legs."""

_run_leg = eqx.filter_jit(run_leg)


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
        atol: absolute error of a step, in the state's unit, a number; 1e-9 or 1e-6.
        args: handed to everything that is a function of the state.
        observe: `observe(t, y, args)`, a pytree of arrays to save beside the states.
        until: `until(t, y, args)` stops the run: a boolean, after the step in which it becomes true; a float, where it
            crosses zero. `fm.AtEquilibrium(flow)` is one.
        dense: keep the solver's interpolant, for `trajectory(t)`.
        progress: show a bar on the terminal.
        throw: raise if the run fails; otherwise look at `trajectory.result` and `trajectory.reason`.
        max_steps: give up after so many steps, accepted or not.
        controller: a diffrax step-size controller; overrides `rtol` and `atol` for the steps.
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
    check_flow(flow)
    check_max_steps(max_steps)
    y0 = check_state("y0", y0)
    dtype = dtype_of(y0)
    t0, t1, ts = check_times(t0, t1, ts, dtype)
    rtol, atol = tolerances(dtype, rtol, atol)
    check_tolerances(rtol, atol, y0)
    traced = is_traced(flow, y0, t0, t1, ts, args, rtol, atol, dt0)
    if traced and (ts is None or dense or progress):
        raise ValueError(
            "Inside a JAX transformation `simulate` needs `ts`, the times to save at, and neither `dense` nor "
            "`progress`: the number of steps is not known there."
        )
    capacity = max_steps if traced else _capacity(y0, ts, dense)
    options = LegOptions(
        solver=choose_solver(solver, rtol, atol),
        controller=controller,
        adjoint=_adjoint(adjoint, traced),
        rtol=rtol,
        atol=atol,
        dt0=None if dt0 is None else jnp.asarray(dt0, dtype),
        observe=observe,
        until=until,
        ledger=flow.potential is not None,
        dense=dense,
        capacity=capacity,
    )
    start = Start(t0, y0, np.zeros((), dtype) if options.ledger else None)
    if traced:
        return _traced_run(flow, start, t1, ts, args, options)
    legs = _run_legs(flow, start, t1, ts, args, options, max_steps, progress)
    trajectory = _assemble(flow, start, t1, ts, args, options, legs)
    if throw and not trajectory.result.is_okay:
        raise _error(trajectory, float(t0))
    return trajectory


def _capacity(y0, ts, dense: bool) -> int:
    if ts is not None and not dense:
        return 2**16  # nothing is kept for each step
    per_step = size(y0) * (8 if dense else 1)
    return max(16, min(4096, _BUFFER // per_step))


def _adjoint(adjoint, traced: bool) -> diffrax.AbstractAdjoint:
    if adjoint is not None:
        return adjoint
    # Without a derivative to take, a plain loop is up to twice as fast as the checkpointed one.
    return diffrax.RecursiveCheckpointAdjoint() if traced else diffrax.ForwardMode()


def _run_legs(flow, start, t1, ts, args, options, max_steps, shown) -> list[Leg]:
    legs, steps = [], 0
    bar = Progress(shown, float(start.t), float(t1), options.capacity)
    try:
        while True:
            budget = min(bar.budget, max_steps - steps)
            times = ts if ts is None else np.maximum(ts, start.t)
            leg = _run_leg(flow, start, t1, times, args, options, np.asarray(budget))
            legs.append(leg)
            steps += int(np.sum(leg.steps))
            bar.leg_done(float(leg.end.t), len(legs))
            paused = int(leg.result) == RESULTS.max_steps_reached and float(leg.end.t) < float(t1)
            if not paused or steps >= max_steps:
                return legs
            start = leg.end
    finally:
        bar.close()


def _assemble(flow, start, t1, ts, args, options, legs: list[Leg]) -> Trajectory:
    """Un-pad and join the legs, and find the cause of a failure."""
    last = legs[-1]
    parts, saved = [], 0
    for leg in legs:
        leg_ts = np.asarray(leg.ts)
        count = int(np.count_nonzero(np.isfinite(leg_ts)))
        # With `ts` every leg saves the times before it once more, at its start; they are passed over.
        rows = slice(saved if ts is not None else 0, count)
        if ts is not None:
            saved = max(saved, count)
        kept = (leg_ts, leg.ys, leg.dissipated, leg.observed)
        parts.append(jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], kept))
    end_t = np.asarray(last.end.t)
    if ts is None and end_t > parts[-1][0][-1:].max(initial=-np.inf) and end_t > start.t:
        end = (end_t, floats(last.end.y), last.end.dissipated, last.end_observed)
        parts.append(jax.tree.map(lambda leaf: np.asarray(leaf)[None], end))
    times, states, dissipated, observed = (
        parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    )
    accepted, rejected = (int(n) for n in sum(np.asarray(leg.steps) for leg in legs))
    result = RESULTS(int(last.result))
    if result is RESULTS.max_steps_reached and end_t >= t1:
        result = RESULTS.successful
    reason = ""
    if not result.is_okay:
        mean_step = (float(end_t) - float(start.t)) / max(accepted, 1)
        explicit = is_explicit(options.solver)
        result, reason = diagnose(flow, result, float(end_t), last.end.y, args, float(t1), mean_step, explicit)
    rest = eqx.filter(start.y, is_float_array, inverse=True)
    interpolation = Interpolation(join([leg.interpolation for leg in legs]), rest) if options.dense else None
    return Trajectory(
        ts=times,
        ys=combine(states, rest),
        dissipated=dissipated,
        observed=observed,
        stats={"accepted": accepted, "rejected": rejected},
        result=result,
        end_time=end_t,
        measures=FlowMeasures(flow, args, rest),
        interpolation=interpolation,
        reason=reason,
        solver=type(options.solver).__name__,
        units=flow.units,
    )


def _traced_run(flow, start, t1, ts, args, options) -> Trajectory:
    leg = run_leg(flow, start, t1, ts, args, options, options.capacity)
    rest = eqx.filter(start.y, is_float_array, inverse=True)
    measures = FlowMeasures(flow, args, rest)
    # Worked out here, because the flow itself can't leave a transformation; what nobody uses is not computed.
    names = ("potential", "gradient_norm", "energy") if options.ledger else ()
    recorded = {name: getattr(measures, name)(leg.ts, leg.ys) for name in names}
    done = (leg.result == RESULTS.max_steps_reached) & (leg.end.t >= t1)
    return Trajectory(
        ts=leg.ts,
        ys=combine(leg.ys, rest),
        dissipated=leg.dissipated,
        observed=leg.observed,
        stats={"accepted": leg.steps[0], "rejected": leg.steps[1]},
        result=jnp.where(done, int(RESULTS.successful), leg.result),
        end_time=leg.end.t,
        measures=RecordedMeasures(recorded),
        interpolation=None,
        reason="",
        solver=type(options.solver).__name__,
        units=flow.units,
    )


def _error(trajectory: Trajectory, t0: float) -> Exception:
    sentence = f"{trajectory.reason} Try: {advice(trajectory.result)}"
    if trajectory.end_time <= t0 and trajectory.result >= RESULTS.nonfinite_potential:
        return ValueError(f"`y0` is no state that this flow can start from. {sentence}")
    return SimulationError(f"The run stopped at t = {float(trajectory.end_time):.6g}. {sentence}", trajectory)
