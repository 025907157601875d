"""A gene circuit that is a Riemannian gradient flow.

The toggle switch runs as its published equations say. That they descend a potential in a metric is checked (the energy
ledger), used (equilibria, barriers, contraction rates), and put to the question: in the flat metric the same potential
has the same valleys, but other paths lead into them. An inertial run goes through the landscape with momentum.
"""

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from ...bio import ToggleSwitch, toggle_switch
from ...contraction import contraction_rate
from ...flow import Equilibria, FixedPoint, InertialFlow, VectorField
from ...metric import Euclidean
from ...simulate import Ensemble, Trajectory, ensemble, simulate
from .say import Say


@dataclasses.dataclass(frozen=True)
class ToggleConfig:
    """What the toggle switch runs; all numbers are dimensionless.

    Attributes:
        a1: synthesis of `u`; with the other parameters that of BIOMD0000000507 without inducer.
        a2: synthesis of `v`.
        n: cooperativity of the repression of `u`.
        m: cooperativity of the repression of `v`.
        start: the start `(u, v)` of the single runs.
        t1: their end time.
        lower: the lower corner of the box of starts, on logarithmic axes.
        upper: the upper corner.
        starts: starts along each axis of the box.
        t1_ensemble: end time of the ensemble.
        t1_flat: end time of the ensemble in the flat metric, which is slow where the landscape is.
        damping: friction of the inertial run, 1/time.
        t1_inertial: end time of the inertial run.
        rtol: relative tolerance of all runs.
    """

    a1: float = 156.25
    a2: float = 15.6
    n: float = 2.5
    m: float = 1.0
    start: tuple[float, float] = (1.0, 8.0)
    t1: float = 20.0
    lower: tuple[float, float] = (0.05, 0.05)
    upper: tuple[float, float] = (250.0, 25.0)
    starts: int = 25
    t1_ensemble: float = 40.0
    t1_flat: float = 10_000.0
    damping: float = 0.3
    t1_inertial: float = 40.0
    rtol: float = 1e-8

    @property
    def box(self) -> tuple[dict, dict]:
        return _state(self.lower), _state(self.upper)

    def grid(self) -> dict:
        """All starts, a state with a leading axis (starts^2,)."""
        axes = [np.geomspace(low, high, self.starts) for low, high in zip(self.lower, self.upper, strict=True)]
        u, v = np.meshgrid(*axes)
        return _state((u.ravel(), v.ravel()))


@dataclasses.dataclass(frozen=True)
class Toggle:
    """What was computed of the toggle switch."""

    config: ToggleConfig
    flow: ToggleSwitch
    flat: VectorField
    inertia: InertialFlow
    equilibria: Equilibria
    trajectory: Trajectory
    rates: np.ndarray
    runs: Ensemble
    flat_runs: Ensemble
    inertial: Trajectory

    @cached_property
    def ends(self) -> np.ndarray:
        """The index of the stable equilibrium at which each start ends, (starts,); -1 for none."""
        return ends_at(self.runs, self.equilibria.stable)

    @cached_property
    def flat_ends(self) -> np.ndarray:
        """The same in the flat metric."""
        return ends_at(self.flat_runs, self.equilibria.stable)


def compute_toggle(config: ToggleConfig, say: Say) -> Toggle:
    """All runs of the toggle switch; `say` is told what is being done.

    Raises:
        ValueError: if the configuration makes no sense.
        SimulationError: if a single run fails.
    """
    flow = toggle_switch(config.a1, config.a2, config.n, config.m)
    flat = _in_flat_metric(flow)
    inertia = InertialFlow(flow.potential, flow.metric, damping=config.damping, units=dict(flow.units))
    start = _state(config.start)

    say("toggle switch: equilibria, and one run with its energy ledger and contraction rate")
    equilibria = flow.equilibria()
    trajectory = simulate(flow, start, config.t1, ts=np.linspace(0, config.t1, 401), rtol=config.rtol)
    rates = np.asarray(contraction_rate(flow, trajectory))

    say(f"{config.starts**2} starts in the circuit's own metric")
    runs = ensemble(flow, config.grid(), ts=_times(config.t1_ensemble), rtol=config.rtol)

    say(f"{config.starts**2} starts in the flat metric")
    flat_runs = ensemble(flat, config.grid(), ts=_times(config.t1_flat), solver="stiff", rtol=config.rtol)

    say("one run with inertia")
    at_rest = jax.tree.map(jnp.zeros_like, start)
    inertial = simulate(inertia, (start, at_rest), config.t1_inertial, rtol=config.rtol)
    return Toggle(config, flow, flat, inertia, equilibria, trajectory, rates, runs, flat_runs, inertial)


def _in_flat_metric(flow: ToggleSwitch) -> VectorField:
    """The gradient flow of the same potential in the Euclidean metric."""

    # grad V = -M y', without the quadrature that the value of V takes; the ledger shows that they agree.
    def descent(t, y, args):
        return flow.metric.flat(y, flow.vector_field(t, y, args), args)

    return VectorField(descent, Euclidean(), flow.potential, units=dict(flow.units))


def ends_at(runs: Ensemble, stable: tuple[FixedPoint, ...]) -> np.ndarray:
    """The index of the stable point at which each member ends, within 10 % of each number, (members,); -1 for none."""
    ends = np.stack([runs.ends["u"], runs.ends["v"]], axis=-1)
    points = np.array([[point.state["u"], point.state["v"]] for point in stable]).reshape(-1, 2)
    at = np.all(np.abs(ends[:, None] - points) < 0.1 * points, axis=-1)
    return np.where(at.any(axis=1), at.argmax(axis=1), -1) if stable else np.full(len(runs), -1)


def _times(t1: float) -> np.ndarray:
    # Starts lie far from the valleys, so that most of a path belongs to its first moments.
    return np.concatenate([[0.0], np.geomspace(1e-5, t1, 120)])


def _state(numbers: Sequence) -> dict:
    return {name: jnp.asarray(number, dtype=float) for name, number in zip(("u", "v"), numbers, strict=True)}
