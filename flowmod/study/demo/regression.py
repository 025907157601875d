"""Softmax regression with weight decay, which contracts in its own Fisher metric: twins approach each other.

Adding one number to all outputs changes no probability: in these directions the metric is its mass alone and the
potential the weight decay alone, so that no rate is above `decay / mass`. With a small decay all other directions
approach faster, and the rate is exactly this.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import floats
from ...contraction import leading_mode
from ...flow import GradientFlow
from ...loss import SoftmaxCrossEntropy, Supervised, WeightDecay
from ...metric import LayerwiseMetric
from ...module import AbstractModule, Linear
from ...simulate import Trajectory, simulate
from .digits import Digits
from .say import Say
from .training import accuracy, state_at


@dataclasses.dataclass(frozen=True)
class RegressionConfig:
    """Regressions that differ in their weight decay; times and rates are dimensionless.

    Attributes:
        images: how many of the images are learned.
        mass: `D` of the layerwise metric.
        decays: weight decays, one regression for each.
        spans: end time in units of `mass / decay`.
        saved: how many evenly spread times are saved, each with its rate.
        twins: how many starts beside the first one.
        apart: their Euclidean distance from it: small, because a rate is that of neighbours.
        rtol: relative tolerance of the runs, far below what is left of the distance.
    """

    images: int = 400
    mass: float = 0.1
    decays: tuple[float, ...] = (0.01, 0.1)
    spans: float = 4.0
    saved: int = 9
    twins: int = 3
    apart: float = 1e-3
    rtol: float = 1e-9


@dataclasses.dataclass(frozen=True)
class Twins:
    """One regression and its twins.

    Attributes:
        decay: its weight decay.
        trajectory: the run from the first start.
        rates: contraction rates along it in its own metric, (T,) in 1/time.
        residuals: how well they are known, (T,) in 1/time.
        distances: of each twin from it, the norm of the difference in the metric at its own state, (twins, T).
    """

    decay: float
    trajectory: Trajectory
    rates: np.ndarray
    residuals: np.ndarray
    distances: np.ndarray

    @property
    def envelope(self) -> np.ndarray:
        """`exp(-integral of the rate)` by the trapezoidal rule, (T,)."""
        steps = np.diff(np.asarray(self.trajectory.ts)) * (self.rates[1:] + self.rates[:-1]) / 2
        return np.exp(-np.concatenate([[0.0], np.cumsum(steps)]))


@dataclasses.dataclass(frozen=True)
class Regression:
    """What was computed of the regressions, one for each weight decay."""

    config: RegressionConfig
    runs: tuple[Twins, ...]


def compute_regression(config: RegressionConfig, digits: Digits, key: jax.Array, say: Say) -> Regression:
    """Run the regressions with their twins.

    Raises:
        SimulationError: if a run fails.
    """
    first, *others = jax.random.split(key, 1 + config.twins)
    start = Linear(64, 10, key=first)
    twins = [_moved(start, config.apart, other) for other in others]
    digits = digits.first(config.images)
    say(f"softmax regression on {len(digits.labels)} images with {config.twins} twins, rates along it")
    return Regression(config, tuple(_run(config, decay, start, twins, digits) for decay in config.decays))


def _run(config: RegressionConfig, decay: float, start: AbstractModule, twins: list, digits: Digits) -> Twins:
    problem = Supervised(start, SoftmaxCrossEntropy(), digits.images, digits.labels, WeightDecay(decay))
    flow = GradientFlow(problem, LayerwiseMetric.of(problem, mass=config.mass))
    times = np.linspace(0, config.spans * config.mass / decay, config.saved)
    how = {"ts": times, "rtol": config.rtol, "atol": config.rtol / 1000, "observe": accuracy(digits)}
    run, *others = [simulate(flow, y, **how) for y in (start, *twins)]
    states = [state_at(run, row) for row in range(len(run))]
    # Many directions have nearly the slowest rate, so that Lanczos comes to its end before it has told them apart. The
    # rate itself is then known to within the residual, which is kept beside it.
    modes = [leading_mode(flow, state) for state in states]
    rates, residuals = np.array([(-float(mode.value), float(mode.residual)) for mode in modes]).T
    distances = [
        [float(_distance(flow, state, state_at(other, row))) for row, state in enumerate(states)] for other in others
    ]
    return Twins(decay, run, rates, residuals, np.array(distances))


def _moved(start: AbstractModule, by: float, key: jax.Array) -> AbstractModule:
    """The start moved by a distance in a random direction."""
    leaves, structure = jax.tree.flatten(floats(start))
    keys = jax.random.split(key, len(leaves))
    moves = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    length = jnp.sqrt(sum(jnp.sum(move**2) for move in moves))
    return eqx.apply_updates(start, jax.tree.unflatten(structure, [by / length * move for move in moves]))


@eqx.filter_jit
def _distance(flow: GradientFlow, y: AbstractModule, other: AbstractModule):
    difference = jax.tree.map(jnp.subtract, floats(other), floats(y))
    return flow.metric.norm(y, difference)
