"""`ensemble`: one flow from many starts."""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._results import RESULTS
from .._tree import combine, dtype_of, floats, is_float_array, label_of
from .._typing import Args, State
from ..flow import AbstractFlow
from ._checks import check_flow, check_max_steps, check_state, check_times, check_tolerances
from ._labels import to_xarray
from ._ledger import balance
from ._leg import LegOptions, Start, run_leg
from ._measures import FlowMeasures
from ._postmortem import diagnose
from ._solvers import choose_solver, is_explicit, tolerances
from .trajectory import Trajectory

_BATCH = 100
"""Members that advance together: a batch is as slow as its slowest member, and a small one stays in the cache."""

_SAVED_TIMES = 101


class Ensemble(eqx.Module):
    """Runs of one flow from many starts, saved at the same times: a sequence of `Trajectory`.

    Attributes:
        ts: the saved times, (T,).
        ys: the states, a tree like a start with leading axes (members, T); infinite after a member's end.
        dissipated: the energy that each member should have lost, (members, T), or `None`.
        observed: what `observe` returned, leaves with leading axes (members, T), or `None`.
        result: why each member ended, (members,), integer codes of `fm.RESULTS`.
        end_times: where each member ended, (members,).
        ends: the last state of each member, a tree with leading axis (members,).
        steps: accepted and rejected steps of each member, (members, 2).
        solver: the solver's name.
        units: pairs of a label and a unit.
    """

    ts: np.ndarray
    ys: PyTree
    dissipated: Any
    observed: PyTree
    result: np.ndarray
    end_times: np.ndarray
    ends: PyTree
    steps: np.ndarray
    measures: FlowMeasures
    start_time: float
    explicit: bool
    solver: str = eqx.field(static=True)
    units: tuple = eqx.field(static=True)

    @cached_property
    def potential(self) -> np.ndarray | None:
        """The potential of every member at every time, (members, T), or `None`."""
        return self._measure(self.measures.potential)

    @cached_property
    def energy(self) -> np.ndarray | None:
        """What the flow dissipates, (members, T), or `None`."""
        return self._measure(self.measures.energy)

    @cached_property
    def ledger(self) -> np.ndarray | None:
        """The energy balance of every member, as for a `Trajectory`; NaN for members that did not reach their end."""
        return None if self.energy is None else balance(self.energy, self.potential, self.dissipated)

    def _measure(self, measure):
        members, times = len(self), len(self.ts)
        flat = jax.tree.map(lambda leaf: leaf.reshape(members * times, *leaf.shape[2:]), floats(self.ys))
        values = measure(np.tile(self.ts, members), flat)
        return None if values is None else np.where(np.isfinite(values), values, np.nan).reshape(members, times)

    @property
    def failed(self) -> np.ndarray:
        """Indices of the members that did not reach their end."""
        return np.flatnonzero(self.result >= RESULTS.max_steps_reached)

    def __len__(self) -> int:
        return len(self.result)

    def __iter__(self) -> Iterator[Trajectory]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Trajectory:
        """One member as a trajectory; if it failed, the cause is looked up now."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"member {index} of an ensemble of {len(self)}")
        end, (accepted, rejected) = float(self.end_times[index]), (int(n) for n in self.steps[index])
        saved = self.ts <= self.end_times[index]
        pick = (floats(self.ys), self.dissipated, self.observed)
        ys, dissipated, observed = jax.tree.map(lambda leaf: leaf[index][saved], pick)
        last = combine(jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), self.ends), self.measures.rest)
        flow, args = self.measures.flow, self.measures.args
        mean_step = (end - self.start_time) / max(accepted, 1)
        code = RESULTS(int(self.result[index]))
        result, reason = diagnose(flow, code, end, last, args, float(self.ts[-1]), mean_step, self.explicit)
        return Trajectory(
            ts=self.ts[saved],
            ys=combine(ys, self.measures.rest),
            dissipated=dissipated,
            observed=observed,
            stats={"accepted": accepted, "rejected": rejected},
            result=result,
            end_time=self.end_times[index],
            measures=self.measures,
            interpolation=None,
            reason=reason,
            solver=self.solver,
            units=self.units,
        )

    def to_xarray(self) -> Any:
        """An `xarray.Dataset` with dimensions `member` and `time`."""
        dataset = to_xarray(self, batch=("member",))
        return dataset.assign(result=("member", [RESULTS(int(code)).name for code in self.result]))

    def __str__(self) -> str:
        kinds, counts = np.unique(self.result, return_counts=True)
        lines = [f"Ensemble of {len(self)} from {self.start_time:.6g} to {self.ts[-1]:.6g}, {len(self.ts)} times"]
        lines += [f"  {count:6d}  {RESULTS(int(kind))}" for kind, count in zip(kinds, counts, strict=True)]
        return "\n".join(lines)


def ensemble(
    flow: AbstractFlow,
    y0s: State,
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
    max_steps: int = 100_000,
    controller: diffrax.AbstractStepSizeController | None = None,
    dt0: Any = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Ensemble:
    """Run a flow from many starts, each with its own steps.

    A member that fails does not stop the others: see `failed`, and `ensemble[i]` for the reason.

    Args:
        flow: the flow.
        y0s: the starts, a tree like a state with a leading axis (members,) on every float leaf.
        t1: the end time; the last of `ts` by default.
        t0: the start time.
        ts: the times to save at, (T,); 101 evenly spaced ones by default.
        solver: as for `simulate`, like `rtol`, `atol`, `args`, `observe`, `until`, `max_steps`, `controller`, `dt0`.
        rtol: relative error of a step.
        atol: absolute error of a step.
        args: the same for all members.
        observe: saved beside the states.
        until: a condition to stop at, for each member by itself.
        max_steps: give a member up after so many steps.
        controller: a diffrax step-size controller.
        dt0: the first step.
        mesh: a one-dimensional JAX device mesh to spread the members over; no device waits for another.

    Returns:
        An `Ensemble`.

    Raises:
        ValueError: for wrong input.
    """
    check_flow(flow)
    check_max_steps(max_steps)
    y0s = check_state("y0s", y0s)
    members = _count(y0s)
    dtype = dtype_of(y0s)
    t1 = ts[-1] if t1 is None and ts is not None else t1
    t0, t1, ts = check_times(t0, t1, ts, dtype)
    ts = np.linspace(t0, t1, _SAVED_TIMES, dtype=dtype) if ts is None else ts
    rtol, atol = tolerances(dtype, rtol, atol)
    check_tolerances(rtol, atol, y0s)
    options = LegOptions(
        solver=choose_solver(solver, rtol, atol),
        controller=controller,
        adjoint=diffrax.ForwardMode(),
        rtol=rtol,
        atol=atol,
        dt0=None if dt0 is None else jnp.asarray(dt0, dtype),
        observe=observe,
        until=until,
        ledger=flow.potential is not None,
        dense=False,
        capacity=max_steps,
    )
    devices = 1 if mesh is None else mesh.size
    batch = min(_BATCH, -(-members // devices))
    starts = _padded(floats(y0s), members, batch * devices)
    rest = eqx.filter(y0s, is_float_array, inverse=True)
    out = _run_members(flow, starts, rest, t0, t1, ts, args, options, batch, mesh)
    ys, dissipated, observed, result, end_times, ends, steps = jax.tree.map(
        lambda leaf: np.asarray(leaf)[:members], out
    )
    done = (result == RESULTS.max_steps_reached) & (end_times >= t1)
    return Ensemble(
        ts=np.asarray(ts),
        ys=combine(ys, rest),
        dissipated=dissipated,
        observed=observed,
        result=np.where(done, int(RESULTS.successful), result),
        end_times=end_times,
        ends=ends,
        steps=steps,
        measures=FlowMeasures(flow, args, rest),
        start_time=float(t0),
        explicit=is_explicit(options.solver),
        solver=type(options.solver).__name__,
        units=flow.units,
    )


def _count(y0s: State) -> int:
    counts = {label_of(path): leaf.shape[:1] for path, leaf in jax.tree.leaves_with_path(floats(y0s))}
    if len(set(counts.values())) != 1 or () in counts.values() or (0,) in counts.values():
        raise ValueError(
            f"`y0s` must have one leading axis, the same for every leaf: one entry per start. Got leading sizes {counts}."
        )
    return next(iter(counts.values()))[0]


def _padded(starts, members: int, multiple: int):
    """Repeat the last start up to a full batch: a remainder would be compiled as a program of its own."""
    rows = np.minimum(np.arange(-(-members // multiple) * multiple), members - 1)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], starts)


@eqx.filter_jit
def _run_members(flow, starts, rest, t0, t1, ts, args, options, batch, mesh):
    def one(y0):
        start = Start(t0, combine(y0, rest), jnp.zeros((), dtype_of(y0)) if options.ledger else None)
        leg = run_leg(flow, start, t1, ts, args, options, options.capacity)
        return leg.ys, leg.dissipated, leg.observed, leg.result, leg.end.t, floats(leg.end.y), leg.steps

    many = partial(jax.lax.map, one, batch_size=batch)
    if mesh is None:
        return many(starts)
    spec = jax.sharding.PartitionSpec(mesh.axis_names[0])
    return jax.shard_map(many, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)(starts)
