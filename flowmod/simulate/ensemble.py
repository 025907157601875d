"""`ensemble`: one flow from many starts."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._results import RESULTS
from .._tree import combine, floats, is_float_array, is_traced, label_of
from .._typing import Args, State
from ..flow import AbstractFlow, Units
from ._labels import to_xarray
from ._ledger import balance
from ._leg import Start, run_leg
from ._measures import FlowMeasures
from ._postmortem import diagnose
from ._program import compiled
from ._setup import Method, prepare
from ._solvers import is_explicit
from .trajectory import Trajectory

_BATCH = 1000
"""Numbers of all members that advance together: a batch is as slow as its slowest member, and a small one stays in the
cache, while too small a one leaves the vector units idle."""

_SAVED_TIMES = 101


@dataclasses.dataclass(frozen=True)
class Ensemble:
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
    solver: str
    units: Units

    @property
    def potential(self) -> np.ndarray | None:
        """The potential of every member at every time, (members, T), or `None`."""
        return None if self._energies is None else self._energies[0]

    @property
    def energy(self) -> np.ndarray | None:
        """What the flow dissipates, (members, T), or `None`."""
        return None if self._energies is None else self._energies[1]

    @cached_property
    def ledger(self) -> np.ndarray | None:
        """The energy balance of every member, as for a `Trajectory`; NaN for members that did not reach their end."""
        return None if self._energies is None else balance(self.energy, self.potential, self.dissipated)

    @cached_property
    def _energies(self) -> Any:
        members, times = len(self), len(self.ts)
        flat = jax.tree.map(lambda leaf: leaf.reshape(members * times, *leaf.shape[2:]), floats(self.ys))
        values = self.measures.along("energies", np.tile(self.ts, members), flat)
        return jax.tree.map(lambda leaf: np.where(np.isfinite(leaf), leaf, np.nan).reshape(members, times), values)

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
        last = combine(jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), floats(self.ends)), self.measures.rest)
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
    method = Method(solver, rtol, atol, observe, until, max_steps, controller, dt0, None)
    if is_traced(flow, y0s, t0, t1, ts, args):
        raise ValueError(
            "`ensemble` runs outside of JAX transformations only: inside use `jax.vmap` of `simulate(..., ts=ts)`."
        )
    members = _count(y0s)
    if ts is None and t1 is not None:
        ts = np.linspace(t0, t1, _SAVED_TIMES)
    setup = prepare(flow, "y0s", y0s, (t0, t1, ts), args, method, members=True)
    devices = 1 if mesh is None else mesh.size
    batch = min(max(_BATCH // setup.packing.layout.size, 1), -(-members // devices))
    # The last start is repeated up to a full batch: a remainder would be compiled as a program of its own.
    rows = np.minimum(np.arange(-(-members // (batch * devices)) * batch * devices), members - 1)
    starts = [np.asarray(leaf)[rows] for leaf in setup.leaves if is_float_array(leaf)]
    # The loop's bound is part of the program: in powers of two few of them serve all numbers of steps.
    capacity = 1 << (int(max_steps) - 1).bit_length()
    setup = setup._replace(options=setup.options._replace(capacity=capacity))
    operands = setup.operands(Start(setup.t0, None, None), setup.ts, np.asarray(max_steps))
    out = _run_members(operands, starts, batch, mesh)
    vectors, observed, ends, report = jax.tree.map(lambda leaf: np.asarray(leaf)[:members], out)
    end_times, result, steps = report[:, 0], report[:, 1].astype(int), report[:, 2:].astype(int)
    return Ensemble(
        ts=np.asarray(setup.ts),
        ys=setup.packing.state(vectors, setup.rest),
        dissipated=setup.packing.dissipated(vectors),
        observed=observed,
        result=result,
        end_times=end_times,
        ends=setup.packing.state(ends, setup.rest),
        steps=steps,
        measures=FlowMeasures(flow, args, setup.rest_tree),
        start_time=float(t0),
        explicit=is_explicit(setup.options.solver),
        solver=type(setup.options.solver).__name__,
        units=flow.units,
    )


def _count(y0s: State) -> int:
    leaves = jax.tree.leaves_with_path(floats(y0s))
    sizes = {label_of(path) or "y": leaf.shape[:1] for path, leaf in leaves}
    if len(set(sizes.values())) != 1 or () in sizes.values() or (0,) in sizes.values():
        raise ValueError(
            "`y0s` must be a state whose every float leaf has a leading axis of one length, an entry for each start; "
            f"got leading axes {sizes}."
        )
    return next(iter(sizes.values()))[0]


@compiled
def _run_members(operands, starts, batch, mesh):
    flow, packing, rest, start, *others = operands

    def one(leaves):
        leg = run_leg(flow, packing, rest, start._replace(vector=packing.pack(leaves)), *others)
        return leg.vectors, leg.observed, leg.end.vector, leg.report

    many = partial(jax.lax.map, one, batch_size=batch)
    if mesh is None:
        return many(starts)
    spec = jax.sharding.PartitionSpec(mesh.axis_names[0])
    return jax.shard_map(many, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)(starts)
