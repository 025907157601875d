"""One leg of a run: what is compiled.

A pure function from numbers to numbers: it never raises and calls nothing back, so that JAX's compilation cache can
keep it (a callback makes a program uncacheable: 1.7 s instead of 0.03 s per process). Whatever went wrong is a code
in the result, and its reason is found outside.
"""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Int

from .._results import code_of
from .._tree import combine, dtype_of, floats, is_float_array
from ..flow import AbstractFlow
from ._controller import LegController
from ._solvers import choose_controller


class Start(eqx.Module):
    """Where a leg starts: time, state, what was dissipated before, and, when resumed, the solver's memory."""

    t: Array
    y: Any
    dissipated: Any
    memory: Any = None


class Leg(eqx.Module):
    """What a leg gives back; the arrays are padded with infinities beyond what was saved."""

    ts: Array
    ys: Any
    dissipated: Any
    observed: Any
    end: Start
    end_observed: Any
    result: Int[Array, ""]
    steps: Int[Array, " 2"]
    interpolation: diffrax.DenseInterpolation | None


class LegOptions(eqx.Module):
    """How to run: the same for all legs of a run."""

    solver: diffrax.AbstractSolver
    controller: diffrax.AbstractStepSizeController | None
    adjoint: diffrax.AbstractAdjoint
    rtol: Any
    atol: Any
    dt0: Any
    observe: Any
    until: Any
    ledger: bool = eqx.field(static=True)
    dense: bool = eqx.field(static=True)
    capacity: int = eqx.field(static=True)


class _Ledgered(diffrax.AbstractTerm):
    """The flow of the pair (state, dissipated): the energy lost so far is integrated beside the state."""

    flow: AbstractFlow
    like: Any
    ledger: bool = eqx.field(static=True)

    def vf(self, t, y, args):
        state = combine(y[0], self.like)
        velocity = self.flow.vector_field(t, state, args)
        if not self.ledger:
            return velocity, None
        lost = self.flow.dissipation(t, state, velocity, args)
        return velocity, lost.astype(y[1].dtype)

    def contr(self, t0, t1, **kwargs):
        return t1 - t0

    def prod(self, vf, control):
        return jax.tree.map(lambda v: v * control.astype(v.dtype), vf)


def run_leg(flow: AbstractFlow, start: Start, t1, ts, args, options: LegOptions, budget) -> Leg:
    """Integrate from `start` to `t1`, or for `budget` steps, whichever comes first.

    Args:
        flow: the flow.
        start: time, state (any pytree), dissipated energy, memory of the leg before.
        t1: the end time, same dtype as `start.t`.
        ts: times to save at, (T,), or `None` to save at the start and after every accepted step.
        args: handed to the flow.
        options: how to run.
        budget: how many steps this leg may take, at most `options.capacity`.

    Returns:
        A `Leg`. Its `end` is the last accepted state whatever happened.
    """
    like = eqx.filter(start.y, is_float_array, inverse=True)
    controller = choose_controller(
        options.controller, options.solver, dtype_of(start.y), options.rtol, options.atol, start.t, t1, options.dt0
    )
    resume = None if start.memory is None else start.memory[0]
    solver_state, made_jump = (None, None) if start.memory is None else start.memory[1:]
    watching = options.until is not None
    record = _record(options, like)
    path = diffrax.SubSaveAt(fn=record, **_where(ts, resumed=start.memory is not None))
    solution = diffrax.diffeqsolve(
        _Ledgered(flow, like, options.ledger),
        options.solver,
        start.t,
        t1,
        options.dt0,
        (floats(start.y), start.dissipated),
        args,
        saveat=diffrax.SaveAt(
            subs={"path": path, "end": diffrax.SubSaveAt(t1=True, fn=record)},
            dense=options.dense,
            solver_state=True,
            controller_state=True,
            made_jump=True,
        ),
        stepsize_controller=LegController(controller, budget, resume, options.rtol, options.atol),
        adjoint=options.adjoint,
        event=_event(options, like, dtype_of(start.y)) if watching else None,
        max_steps=options.capacity,
        throw=False,
        solver_state=solver_state,
        made_jump=made_jump,
    )
    states, dissipated, observed = solution.ys["path"]
    last_state, last_dissipated, last_observed = jax.tree.map(lambda leaf: leaf[0], solution.ys["end"])
    inner_state, next_t, _ = solution.controller_state
    memory = ((next_t, inner_state), solution.solver_state, jnp.asarray(solution.made_jump))
    return Leg(
        ts=solution.ts["path"],
        ys=states,
        dissipated=dissipated,
        observed=observed,
        end=Start(solution.ts["end"][0], combine(last_state, like), last_dissipated, memory),
        end_observed=last_observed,
        result=code_of(solution.result),
        steps=jnp.stack([jnp.asarray(solution.stats[f"num_{kind}_steps"]) for kind in ("accepted", "rejected")]),
        interpolation=solution.interpolation,
    )


def _where(ts, resumed: bool) -> dict[str, Any]:
    if ts is None:
        return {"t0": not resumed, "steps": True}
    return {"ts": ts}


def _record(options: LegOptions, like):
    def record(t, y, args):
        state, dissipated = y
        observed = None if options.observe is None else options.observe(t, combine(state, like), args)
        return state, dissipated, jax.tree.map(jnp.asarray, observed)

    return record


def _event(options: LegOptions, like, dtype) -> diffrax.Event:
    def condition(t, y, args, **kwargs):
        value = jnp.asarray(options.until(t, combine(y[0], like), args))
        if value.shape != () or jnp.issubdtype(value.dtype, jnp.integer):
            raise ValueError(
                "`until` must return a boolean (stop after the step in which it becomes true) or a float (stop where "
                f"it crosses zero), got an array of {value.dtype} and shape {value.shape}."
            )
        return value

    # A real condition is located to the precision of the interpolant, a boolean one to the step.
    tolerance = float(jnp.finfo(dtype).eps) ** 0.75
    return diffrax.Event(condition, root_finder=optx.Newton(rtol=tolerance, atol=tolerance))
