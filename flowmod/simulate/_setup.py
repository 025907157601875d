"""From a user's arguments to a run that can be compiled: checked, cast, laid out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from .._tree import dtype_of, is_float_array
from .._typing import Args, State
from ..flow import AbstractFlow
from ._checks import check_flow, check_max_steps, check_state, check_times, check_tolerances
from ._leg import Options, Start
from ._packing import Packing
from ._solvers import choose_solver, tolerances

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
        return jax.tree.unflatten(self.packing.structure, self.rest)

    def operands(self, start: Start, ts: Any, budget: Any) -> tuple:
        """The arguments of `run_leg` for one leg."""
        return (self.flow, self.packing, self.rest, start, self.t1, ts, self.args, self.options, budget)


def prepare(
    flow: AbstractFlow, argument: str, y0: State, times: tuple, args: Args, method: Method, members: bool = False
) -> Setup:
    """Check the arguments of a run; with `members` the start's leaves have a leading axis, one entry per run."""
    check_flow(flow)
    check_max_steps(method.max_steps)
    leaves, structure = check_state(argument, y0)
    dtype = dtype_of(leaves)
    t0, t1, ts = check_times(*times, dtype)
    single = [leaf[0] if members and is_float_array(leaf) else leaf for leaf in leaves]
    packing = Packing.of(single, structure, ledger=flow.balanced)
    rtol, atol = tolerances(dtype, method.rtol, method.atol)
    atol = (
        atol if np.ndim(atol) == 0 and not isinstance(atol, dict | list | tuple) else packing.vector_like(atol, "atol")
    )
    check_tolerances(rtol, atol, dtype)
    rtol, atol = _as(rtol, dtype), _as(atol, dtype)
    options = Options(
        solver=choose_solver(method.solver, rtol, atol, packing.size),
        controller=method.controller,
        adjoint=_FORWARD if method.adjoint is None else method.adjoint,
        rtol=rtol,
        atol=atol,
        dt0=None if method.dt0 is None else _as(method.dt0, dtype),
        observe=method.observe,
        until=method.until,
        dense=False,
        capacity=method.max_steps,
    )
    rest = tuple(None if is_float_array(leaf) else leaf for leaf in leaves)
    return Setup(flow, packing, leaves, rest, t0, t1, ts, args, options)


def _as(value: Any, dtype: np.dtype) -> Any:
    return jnp.asarray(value, dtype) if isinstance(value, jax.Array) else np.asarray(value, dtype)
