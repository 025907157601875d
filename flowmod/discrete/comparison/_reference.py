"""The flow that optimizers are compared with: run to a tolerance far below what they differ by."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..._tree import combine, floats, traced_numbers, unraveler
from ..._typing import Args, Vector
from ...flow import AbstractFlow
from ...simulate import SimulationError, ensemble, simulate
from ._schedule import Portion
from ._starts import Starts


class Reference(NamedTuple):
    """The flow that the optimizers are compared with.

    Attributes:
        flow: the flow; its potential is the loss of the optimizers.
        args: what it is handed.
        starts: the float leaves of the starts, with a leading axis (starts,).
        static: the leaves of the state that do not move.
        weights: of the linear function of a state that the tails are told by, a tree like the float leaves.
        times: the times at which it was saved, (U,).
        path: the float leaves of its states, with leading axes (starts, U).
    """

    flow: AbstractFlow
    args: Args
    starts: Vector
    static: PyTree
    weights: Vector
    times: Any
    path: PyTree

    @property
    def potential(self) -> Any:
        """The potential of the flow, which has one."""
        return self.flow.potential

    @property
    def example(self) -> Vector:
        """The float leaves of the first start."""
        return jax.tree.map(lambda leaf: leaf[0], self.starts)

    def loss_at(self, leaves: Vector, static: PyTree = None) -> Float[Array, ""]:
        """The potential as a function of the float leaves: a line search's, which hands it what it does not know."""
        del static
        return self.potential(combine(leaves, self.static), self.args)


class Outcome(NamedTuple):
    """How the runs of a flow ended.

    Attributes:
        results: codes of `fm.RESULTS`, (starts,).
        solver: the solver's name.
    """

    results: np.ndarray
    solver: str


def run_flow(
    flow: AbstractFlow, starts: Starts, portion: Portion, args: Args, method: dict[str, Any]
) -> tuple[Reference, Outcome]:
    """The flow from every start, at all times of a portion.

    Large step sizes lead far beyond the time up to which the flow is wanted: where it can't be run so far, its states
    are NaN. One of many starts from which it can't be run at all is no reason to stop.

    Raises:
        SimulationError: if there is one start, and the flow can't be run until the time up to which it is wanted.
    """
    run = _one(flow, starts, portion, args, method) if starts.alone else _many(flow, starts, portion, args, method)
    path, outcome = run
    n = starts.size
    weights = unraveler(starts.example)(jnp.asarray(np.random.default_rng(0).standard_normal(n)))
    path = jax.tree.map(jnp.asarray, path)
    times = jnp.asarray(portion.saved)
    return Reference(flow, traced_numbers(args), starts.leaves, starts.static, weights, times, path), outcome


def _one(flow, starts: Starts, portion: Portion, args: Args, method: dict[str, Any]) -> tuple[PyTree, Outcome]:
    try:
        run = simulate(flow, starts.tree, ts=portion.saved, args=args, **method)
    except SimulationError as error:
        run = error.trajectory
        if not len(run) or run.ts[-1] < portion.saved[portion.probes[-1]]:
            raise
    missing = len(portion.saved) - len(run)

    def padded(leaf):
        widths = [(0, missing)] + [(0, 0)] * (np.ndim(leaf) - 1)
        return np.pad(np.asarray(leaf), widths, constant_values=np.nan)[None]

    return jax.tree.map(padded, floats(run.ys)), Outcome(np.array([int(run.result)]), run.solver)


def _many(flow, starts: Starts, portion: Portion, args: Args, method: dict[str, Any]) -> tuple[PyTree, Outcome]:
    runs = ensemble(flow, starts.tree, ts=portion.saved, args=args, **method)
    path = jax.tree.map(lambda leaf: np.where(np.isfinite(leaf), leaf, np.nan), floats(runs.ys))
    return path, Outcome(runs.result, runs.solver)
