"""One leg of a run: what is compiled.

A pure function from numbers to numbers: it never raises and calls nothing back, so that JAX's compilation cache can
keep it (a callback makes a program uncacheable: 1.7 s instead of 0.03 s per process). Whatever went wrong is a code
in the result, and its reason is found outside.
"""

from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float

from .._results import RESULTS, code_of
from ..flow import AbstractFlow
from ._controller import LegController, Watch
from ._packing import Packing
from ._solvers import default_controller
from .metric_controller import MetricController
from .stopping import AtEquilibrium


class Options(NamedTuple):
    """How to run: the same for all legs of a run. `dense` and `capacity` are part of the program."""

    solver: diffrax.AbstractSolver
    controller: diffrax.AbstractStepSizeController | None
    adjoint: diffrax.AbstractAdjoint
    rtol: Any
    atol: Any
    dt0: Any
    observe: Any
    until: Any
    dense: bool
    capacity: int


class Start(NamedTuple):
    """Where a leg starts: time, packed state, and when resumed the solver's and controller's memory."""

    t: Any
    vector: Any
    memory: Any


class Leg(NamedTuple):
    """What a leg gives back; `ts`, `vectors` and `observed` are padded with infinities beyond what was saved."""

    ts: Array
    vectors: Array
    observed: Any
    end: Start
    end_observed: Any
    report: Float[Array, " 4"]
    """End time, code of the result, steps accepted, steps rejected: one array, because each costs a transfer."""
    interpolation: diffrax.DenseInterpolation | None


class _PackedTerm(diffrax.AbstractTerm):
    """The flow of the packed state: velocity, and behind it the rate at which energy should be lost."""

    flow: AbstractFlow
    packing: Packing
    rest: tuple

    def vf(self, t, y, args):
        state = self.packing.state(y, self.rest)
        velocity = self.flow.vector_field(t, state, args)
        lost = self.flow.dissipation(t, state, velocity, args) if self.packing.layout.ledger else None
        return self.packing.join(velocity, lost)

    def contr(self, t0, t1, **kwargs):
        return t1 - t0

    def prod(self, vf, control):
        return jax.tree.map(lambda v: v * control.astype(v.dtype), vf)


def run_leg(flow: AbstractFlow, packing: Packing, rest: tuple, start: Start, t1, ts, args, options: Options, budget):
    """Integrate from `start` to `t1`, or for `budget` steps, whichever comes first.

    Args:
        flow: the flow.
        packing: how the state is laid out in the vector.
        rest: the leaves of the state that are not in the vector, one entry per leaf.
        start: time, vector, memory of the leg before.
        t1: the end time, same dtype as `start.t`.
        ts: times to save at, (T,), or `None` to save at the start and after every accepted step.
        args: handed to the flow.
        options: how to run.
        budget: how many steps this leg may take, at most `options.capacity`.

    Returns:
        A `Leg`. Its `end` is the last accepted state whatever happened.
    """
    resumed = start.memory is not None
    next_step, solver_state, made_jump = start.memory if resumed else (None, None, None)
    record = _record(packing, rest, options.observe)
    every_step = ts is None
    path = diffrax.SubSaveAt(fn=record, ts=ts, t0=every_step and not resumed, steps=every_step)
    subs = {"path": path, "end": diffrax.SubSaveAt(t1=True, fn=record)}
    solution = diffrax.diffeqsolve(
        _PackedTerm(flow, packing, rest),
        options.solver,
        start.t,
        t1,
        None,  # the controller has it
        start.vector,
        args,
        saveat=diffrax.SaveAt(subs=subs, dense=options.dense, solver_state=True, controller_state=True, made_jump=True),
        stepsize_controller=_controller(packing, rest, start, t1, options, budget, next_step),
        adjoint=options.adjoint,
        event=_event(packing, rest, start, args, options.until),
        max_steps=options.capacity,
        throw=False,
        solver_state=solver_state,
        made_jump=made_jump,
    )
    times: Any = solution.ts
    saved: Any = solution.ys
    vectors, observed = saved["path"]
    last, end_observed = jax.tree.map(lambda leaf: leaf[0], saved["end"])
    controller_state: Any = solution.controller_state
    inner_state, next_t, _ = controller_state
    # As an array, a flag that is always false would make each resumed step ask for it.
    made_jump = solution.made_jump if isinstance(solution.made_jump, jax.Array) else None
    memory = ((next_t, inner_state), solution.solver_state, made_jump)
    steps = [solution.stats[f"num_{kind}_steps"] for kind in ("accepted", "rejected")]
    end_t = times["end"][0]
    code = code_of(solution.result)
    # The last step that a leg may take can be the one that arrives.
    arrived = (code == RESULTS.max_steps_reached.value) & (end_t >= t1)
    report = [end_t, jnp.where(arrived, RESULTS.successful.value, code), *steps]
    return Leg(
        ts=times["path"],
        vectors=vectors,
        observed=observed,
        end=Start(end_t, last, memory),
        end_observed=end_observed,
        report=jnp.stack([jnp.asarray(number).astype(end_t.dtype) for number in report]),
        interpolation=solution.interpolation,
    )


def _controller(packing: Packing, rest: tuple, start: Start, t1, options: Options, budget, resume) -> LegController:
    if options.controller is None:
        dtype = jnp.result_type(start.t)
        inner = default_controller(options.solver, dtype, options.rtol, options.atol, start.t, t1, options.dt0)
        view = packing.state_part
    else:
        inner, view = options.controller, packing.state  # its norm may know the tree
        if isinstance(inner, MetricController):
            inner = inner.completed(jax.tree.unflatten(packing.layout.structure, rest))
    return LegController(
        inner=inner,
        view=view,
        dt0=options.dt0,
        budget=budget,
        resume=resume,
        watch=_watch(packing, rest, options.until),
        rtol=options.rtol,
        atol=packing.tolerance(options.atol),
        norm=optx.rms_norm,
    )


def _watch(packing: Packing, rest: tuple, until) -> Watch | None:
    if not _waits(until):
        return None
    return Watch(lambda t, y, args: until(t, packing.state(y, rest), args), until.window)


def _waits(until) -> bool:
    return isinstance(until, AtEquilibrium) and until.window is not None


def _record(packing: Packing, rest: tuple, observe):
    def record(t, y, args):
        observed = None if observe is None else observe(t, packing.state(y, rest), args)
        return y, jax.tree.map(jnp.asarray, observed)

    return record


def _event(packing: Packing, rest: tuple, start: Start, args, until) -> diffrax.Event | None:
    if until is None or _waits(until):
        return None

    def condition(t, y, args, **kwargs):
        return jnp.asarray(until(t, packing.state(y, rest), args))

    value = jax.eval_shape(lambda: condition(start.t, start.vector, args))
    if value.shape != () or not (value.dtype == bool or jnp.issubdtype(value.dtype, jnp.floating)):
        raise ValueError(
            "`until` must return a boolean (stop after the step in which it becomes true) or a float (stop where it "
            f"crosses zero), got an array of {value.dtype} and shape {value.shape}."
        )
    if value.dtype == bool:
        return diffrax.Event(condition)
    # A real condition is located to the precision of the interpolant.
    tolerance = float(jnp.finfo(value.dtype).eps) ** 0.75
    return diffrax.Event(condition, root_finder=optx.Newton(rtol=tolerance, atol=tolerance))
