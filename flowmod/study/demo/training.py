"""The training of a module as a flow: one run, and by the clock how long it takes."""

import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import combine, floats
from ..._typing import State
from ...discrete import leading_curvature
from ...flow import GradientFlow
from ...module import AbstractModule
from ...simulate import Trajectory, simulate
from .digits import Digits


@dataclasses.dataclass(frozen=True)
class Training:
    """A flow that trains a module, and what was measured along it.

    Attributes:
        flow: the flow.
        trajectory: its run.
        seconds: wall time until each saved time, (T,).
        probes: the indices of the saved times at which curvatures and rates were worked out, (S,).
        eigenvalues: the leading eigenvalue of `M^-1 H` there, (S,) in 1/time.
    """

    flow: GradientFlow
    trajectory: Trajectory
    seconds: np.ndarray
    probes: np.ndarray
    eigenvalues: np.ndarray

    @property
    def probed(self) -> np.ndarray:
        """The times of the probes."""
        return np.asarray(self.trajectory.ts)[self.probes]

    @property
    def limits(self) -> np.ndarray:
        """The largest stable step of Euler's method, (S,): infinite where no curvature is positive."""
        positive = self.eigenvalues > 0
        return np.where(positive, 2 / np.where(positive, self.eigenvalues, 1.0), np.inf)


def train(flow: GradientFlow, start: AbstractModule, times: np.ndarray, probes: int, rtol: float, observe: Any):
    """Run a flow until the last of the times, and take its measures: a `Training`.

    Args:
        flow: the flow of the training.
        start: the module to train.
        times: the times to save at, (T,).
        probes: at how many of them curvatures are worked out.
        rtol: relative tolerance of the run.
        observe: what to save beside the states.
    """
    trajectory = simulate(flow, start, ts=times, rtol=rtol, observe=observe)
    seconds = _wall_times(flow, trajectory, rtol, observe)
    rows = np.unique(np.linspace(0, len(times) - 1, probes).round().astype(int))
    values = np.array([float(leading_curvature(flow, state_at(trajectory, row)).value) for row in rows])
    return Training(flow, trajectory, seconds, rows, values)


def state_at(trajectory: Trajectory, row: int) -> State:
    """The state at one of the saved times."""
    return combine(jax.tree.map(lambda leaf: leaf[row], floats(trajectory.ys)), trajectory.ys)


def saved_times(t1: float, count: int) -> np.ndarray:
    """The start, and times up to `t1` in equal ratios: most of a training happens early."""
    return np.concatenate([[0.0], np.geomspace(t1 / 200, t1, count - 1)])


def accuracy(digits: Digits) -> Callable[[Any, State, Any], dict[str, Any]]:
    """An `observe` that records the share of the test images that a module tells right."""
    images, labels = jnp.asarray(digits.test_images), jnp.asarray(digits.test_labels)

    def observe(t, module, args):
        del t, args
        told = jnp.argmax(jax.vmap(module)(images), axis=1)
        return {"test_accuracy": jnp.mean((told == labels).astype(images.dtype))}

    return observe


def _wall_times(flow: GradientFlow, trajectory: Trajectory, rtol: float, observe: Any) -> np.ndarray:
    """Seconds until each saved time, (T,), from a second run that stops at each of them."""
    # A segment saves as many times as the run, so that it is the run's compiled program: no compilation is in it.
    # What is in it: the steps with their solves, a first step size chosen anew, the test accuracies, and the arrays'
    # way to NumPy, for which `simulate` waits. The potential and the ledger are not: nobody asks for them here.
    seconds = [0.0]
    for row, (begin, end) in enumerate(itertools.pairwise(map(float, trajectory.ts))):
        start, times = state_at(trajectory, row), np.linspace(begin, end, len(trajectory))
        began = time.perf_counter()
        simulate(flow, start, t0=begin, ts=times, rtol=rtol, observe=observe)
        seconds.append(time.perf_counter() - began)
    return np.cumsum(seconds)
