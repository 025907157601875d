"""The result of a run: un-padded, labelled, and able to say why it ended."""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._results import RESULTS
from .._tree import floats, is_traced, label_of
from ..flow import Units
from ..metric import LayerReport
from ._advice import advice
from ._interpolation import Interpolation
from ._labels import to_dataframe, to_xarray
from ._ledger import balance
from ._measures import FlowMeasures, RecordedMeasures
from .save import save


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trajectory:
    """States along a run, with what was measured on the way.

    Arrays are NumPy arrays, or JAX arrays where `simulate` was called inside a JAX transformation.

    Attributes:
        ts: the saved times, (T,).
        ys: the states, a tree like `y0` with a leading axis of length T on the float leaves.
        dissipated: the energy that the flow should have lost by each time, integrated through the metric's `flat`
            beside the state, (T,); `None` without a potential.
        observed: what `observe` returned, leaves with a leading axis of length T; `None` without `observe`.
        stats: how many steps the solver accepted and rejected.
        result: why the run ended, a `fm.RESULTS` member; an integer array of its codes inside a transformation.
        end_time: where the run ended, a scalar.
        reason: what made the run fail, and where, in whole sentences; empty where all is well.
        solver: the solver's name.
        units: pairs of a label and a unit.
    """

    ts: Float[Array | np.ndarray, " times"]
    ys: PyTree
    dissipated: Any
    observed: PyTree
    stats: dict[str, Any]
    result: Any
    end_time: Any
    measures: FlowMeasures | RecordedMeasures
    interpolation: Interpolation | None
    reason: str = dataclasses.field(metadata={"static": True})
    units: Units = dataclasses.field(metadata={"static": True})
    solver: str = dataclasses.field(metadata={"static": True})

    @property
    def outcome(self) -> RESULTS:
        """`result` as a member of `fm.RESULTS`, also for a run that came out of a JAX transformation."""
        return RESULTS(int(self.result))

    @cached_property
    def _energies(self) -> Any:
        return self.measures.along("energies", self.ts, self.ys)

    @property
    def potential(self) -> Float[Array | np.ndarray, " times"] | None:
        """`f` at every saved time, in the potential's unit; `None` if the flow has no potential."""
        return None if self._energies is None else self._energies[0]

    @cached_property
    def _slopes(self) -> Any:
        return self.measures.along("slopes", self.ts, self.ys)

    @property
    def gradient_norm(self) -> Float[Array | np.ndarray, " times"] | None:
        """The dual norm `sqrt(grad f^T M^-1 grad f)` at every saved time; `None` without a potential."""
        return None if self._slopes is None else self._slopes[0]

    @property
    def inner_residual(self) -> Float[Array | np.ndarray, " times"] | None:
        """How exactly the metric was solved: `|M u - grad f| / |grad f|` with the `u` that is the flow's solution.

        It stands beside the ledger, which an inexact solve by conjugate gradients can leave closed: their error is
        orthogonal to what it sums. `None` without a potential.
        """
        return None if self._slopes is None else self._slopes[1]

    @property
    def layers(self) -> LayerReport | None:
        """The metric's solve with the gradient by layer, arrays (T, L), from the solve of `gradient_norm`.

        `None` without a potential, or for a metric without layers.
        """
        return None if self._slopes is None else self._slopes[2]

    @property
    def energy(self) -> Float[Array | np.ndarray, " times"] | None:
        """What the flow dissipates: the potential, or for an `InertialFlow` the mechanical energy."""
        return None if self._energies is None else self._energies[1]

    @cached_property
    def ledger(self) -> Float[Array | np.ndarray, " times"] | None:
        """The energy balance: (energy lost - energy dissipated) / energy lost in the whole run.

        Zero at the start, and of the size of the integration error if flow, potential and metric agree. An
        `InertialFlow` may conserve its energy: it is then relative to the largest change of the potential.
        """
        if self.energy is None or self.dissipated is None:
            return None
        return balance(self.energy, self.potential, self.dissipated)

    def __len__(self) -> int:
        return len(self.ts)

    def __call__(self, t: Any) -> PyTree:
        """The state at any time of the run, by the solver's own interpolant; `t` a scalar or (T,).

        Raises:
            ValueError: if the run was made without `dense=True`, or `t` lies outside of it.
        """
        if self.interpolation is None:
            raise ValueError("`trajectory(t)` needs the solver's interpolant: run `simulate(..., dense=True)`.")
        return self.interpolation(t)

    def to_xarray(self) -> Any:
        """All of it as an `xarray.Dataset`: one variable for each leaf, with names, dimensions and units."""
        return to_xarray(self)

    def to_dataframe(self) -> Any:
        """A `pandas.DataFrame` indexed by time, one column for each number of the state and each measure."""
        return to_dataframe(self)

    def save(self, path: str | Path) -> Path:
        """Write a netCDF4 file that `fm.load` reads back exactly; an existing file is replaced only when it is whole.

        Args:
            path: the file, ending in `.nc`.

        Returns:
            The path.

        Raises:
            ValueError: if the ending is another or the folder can't be written to.
        """
        return save(self, path)

    def __str__(self) -> str:
        return summary(self)


def summary(trajectory: Trajectory) -> str:
    """A short table of a run, with why it ended and what to try."""
    if is_traced(trajectory.ts, trajectory.result) or np.ndim(trajectory.ts) != 1:
        return f"Trajectory inside a JAX transformation, {trajectory.ts.shape[-1]} times"
    span = f" from {trajectory.ts[0]:.6g} to {trajectory.ts[-1]:.6g}" if len(trajectory) else ""
    rows = [("times", f"{len(trajectory)} saved{span}"), *_leaf_rows(trajectory)]
    for label in ("potential", "gradient_norm"):
        values = getattr(trajectory, label)
        if values is not None and len(values):
            rows.append((label.replace("_", " "), f"{values[0]:.6g} -> {values[-1]:.6g}"))
    if trajectory.ledger is not None and len(trajectory):
        rows.append(("inner residual", f"{np.max(np.asarray(trajectory.inner_residual)):.2g} at most"))
        rows.append(("energy ledger", f"{np.max(np.abs(trajectory.ledger)):.2g} of the energy lost is unaccounted for"))
    stats = trajectory.stats
    rows.append(("steps", f"{stats['accepted']} accepted, {stats['rejected']} rejected ({trajectory.solver})"))
    rows.append(("ended", str(trajectory.outcome)))
    if trajectory.reason:
        rows.append(("why", trajectory.reason))
    if not trajectory.outcome.is_okay:
        rows.append(("try", advice(trajectory.outcome)))
    width = max(len(label) for label, _ in rows)
    return "\n".join(["Trajectory", *(f"  {label:{width}}  {text}" for label, text in rows)])


def _leaf_rows(trajectory: Trajectory, most: int = 6):
    leaves = jax.tree.leaves_with_path(floats(trajectory.ys))
    for path, leaf in leaves[:most]:
        if leaf.ndim == 1 and len(leaf):
            yield label_of(path) or "y", f"{leaf[0]:.6g} -> {leaf[-1]:.6g}"
        else:
            yield label_of(path) or "y", f"array of shape {leaf.shape[1:]}"
    if len(leaves) > most:
        yield "...", f"{len(leaves) - most} more leaves"
