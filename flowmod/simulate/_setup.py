"""From a user's arguments to a run that can be compiled: checked, cast, laid out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from .._tree import traced_numbers
from .._typing import Args, State
from ..flow import AbstractFlow, require_flow
from ..linalg import follow
from ._checks import (
    check_diffrax,
    check_first_step,
    check_functions,
    check_max_steps,
    check_state,
    check_times,
    check_tolerances,
)
from ._leg import Options, Start
from ._packing import FlatPacking, Layout, LeafPacking, Packing
from ._solvers import choose_solver, tolerances
from .metric_controller import MetricController

# Without a derivative to take, a plain loop is faster than the checkpointed one.
_FORWARD = diffrax.ForwardMode()


class Method(NamedTuple):
    """What a user says about how to run."""

    solver: diffrax.AbstractSolver | str | None
    rtol: Any
    atol: Any
    observe: Callable | None
    until: Callable | None
    max_steps: int
    controller: diffrax.AbstractStepSizeController | None
    dt0: Any
    adjoint: diffrax.AbstractAdjoint | None


class Setup(NamedTuple):
    """All that a run needs, in the state's precision; `leaves` are those of the start."""

    flow: AbstractFlow
    packing: Packing
    leaves: list
    rest: tuple
    t0: Any
    t1: Any
    ts: Any
    args: Args
    options: Options

    @property
    def rest_tree(self) -> Any:
        """`rest` as a tree like the state."""
        return jax.tree.unflatten(self.packing.layout.structure, self.rest)

    def operands(self, start: Start, ts: Any, budget: Any) -> tuple:
        """The arguments of `run_leg` for one leg."""
        return (self.flow, self.packing, self.rest, start, self.t1, ts, self.args, self.options, budget)


def prepare(
    flow: AbstractFlow, argument: str, y0: State, times: tuple, args: Args, method: Method, members: bool = False
) -> Setup:
    """Check the arguments of a run; with `members` the start's leaves have a leading axis, one entry per run."""
    require_flow(flow)
    check_max_steps(method.max_steps)
    check_first_step(method.dt0)
    check_functions(method.observe, method.until)
    check_diffrax(method.controller, method.adjoint)
    leaves, structure = check_state(argument, y0)
    layout = Layout.of(leaves, structure, flow.balanced, members)
    dtype = layout.narrowest
    t0, t1, ts = check_times(times, dtype)
    rtol, atol = tolerances(dtype, method.rtol, method.atol)
    by_number = isinstance(atol, dict | list | tuple) or np.ndim(atol) > 0
    if by_number:
        atol = layout.numbers(atol, "atol")
    check_tolerances(rtol, atol, dtype)
    if isinstance(method.controller, MetricController):
        check_tolerances(method.controller.rtol, method.controller.length, dtype)
    rtol, atol = _as(rtol, dtype), _as(atol, dtype)
    # diffrax takes one tolerance for all leaves, or a vector of them for a vector.
    packing = LeafPacking(layout) if members and not by_number else FlatPacking(layout)
    options = Options(
        solver=choose_solver(method.solver, rtol, atol, packing),
        controller=method.controller,
        adjoint=_FORWARD if method.adjoint is None else method.adjoint,
        rtol=rtol,
        atol=atol,
        dt0=None if method.dt0 is None else _as(method.dt0, dtype),
        observe=traced_numbers(method.observe),
        until=traced_numbers(method.until),
        dense=False,
        capacity=method.max_steps,
    )
    flow = follow(flow, getattr(method.controller, "rtol", rtol))
    rest = tuple(leaf if kind is None else None for leaf, kind in zip(leaves, layout.dtypes, strict=True))
    return Setup(flow, packing, leaves, rest, t0, t1, ts, traced_numbers(args), options)


def _as(value: Any, dtype: np.dtype) -> Any:
    return jnp.asarray(value, dtype) if isinstance(value, jax.Array) else np.asarray(value, dtype)
