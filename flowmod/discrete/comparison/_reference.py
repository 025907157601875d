"""The flow that optimizers are compared with: run once, to a tolerance far below what they differ by."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..._tree import combine, floats, is_float_array, traced_numbers
from ..._typing import Args, Potential, State, Vector
from ...flow import AbstractFlow
from ...simulate import SimulationError, simulate
from ._schedule import Schedule


class Reference(NamedTuple):
    """The flow that the optimizers are compared with.

    Attributes:
        flow: the flow.
        potential: what it descends, the loss of the optimizers.
        args: what it is handed.
        y0: the start, its float leaves as arrays.
        times: the times at which it was saved, (U,).
        path: the float leaves of its states, with a leading axis of length U.
    """

    flow: AbstractFlow
    potential: Potential
    args: Args
    y0: State
    times: Any
    path: PyTree

    @property
    def static(self) -> PyTree:
        """The leaves of the state that do not move."""
        return eqx.filter(self.y0, is_float_array, inverse=True)

    def loss_at(self, leaves: Vector, static: PyTree = None) -> Float[Array, ""]:
        """The potential as a function of the float leaves: a line search's, which hands it what it does not know."""
        del static
        return self.potential(combine(leaves, self.y0), self.args)


def run_flow(
    flow: AbstractFlow, potential: Potential, y0: State, plan: Schedule, args: Args, method: dict[str, Any]
) -> tuple[Reference, np.ndarray, dict[str, str]]:
    """The flow at all times of a schedule, its potential there, (U,), and what it was run with.

    Large step sizes lead far beyond the time up to which the flow is wanted: where it can't be run so far, its states
    are NaN.

    Raises:
        SimulationError: if it can't be run until the time up to which it is wanted.
    """
    try:
        run = simulate(flow, y0, ts=plan.saved, args=args, **method)
    except SimulationError as error:
        run = error.trajectory
        if not len(run) or run.ts[-1] < plan.saved[plan.limit_rows[-1]]:
            raise
    missing = len(plan.saved) - len(run)
    path = jax.tree.map(lambda leaf: jnp.asarray(_padded(leaf, missing)), floats(run.ys))
    reference = Reference(flow, potential, traced_numbers(args), y0, jnp.asarray(plan.saved), path)
    return reference, _padded(run.potential, missing), {"solver": run.solver}


def _padded(values: Any, missing: int) -> np.ndarray:
    widths = [(0, missing)] + [(0, 0)] * (np.ndim(values) - 1)
    return np.pad(np.asarray(values), widths, constant_values=np.nan)
