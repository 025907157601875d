"""Input of a comparison: made into arrays, or refused with the argument, the value and the cure."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import as_state, combine, floats, size
from ..._typing import Potential, State
from ...flow import AbstractFlow, InertialFlow, require_flow
from ._optimizer import Optimizer


def check_flow(flow: AbstractFlow) -> Potential:
    """The potential of a flow that has one in its whole state."""
    require_flow(flow)
    if isinstance(flow, InertialFlow):
        raise ValueError(
            "`flow` must be of first order, got InertialFlow, whose velocities no optimizer has: compare with "
            "`fm.GradientFlow(flow.potential, flow.metric)`."
        )
    if flow.potential is None:
        raise ValueError(
            f"`flow` must have a potential, the loss of the optimizers, got {type(flow).__name__} without one: use "
            "`fm.GradientFlow(potential)` or `fm.VectorField(fn, potential=potential)`."
        )
    return flow.potential


def check_optimizers(optimizers: Any, step_size: float) -> list[Optimizer]:
    """The optimizers of a dict from names to functions, each made once, with a step size."""
    if not (isinstance(optimizers, Mapping) and optimizers and all(isinstance(name, str) for name in optimizers)):
        raise ValueError(
            "`optimizers` must be a dict from names to functions of the step size, such as "
            f'{{"sgd": optax.sgd}}, got {optimizers!r}.'
        )
    for name, make in optimizers.items():
        if not callable(make):
            raise ValueError(
                f"`optimizers[{name!r}]` must be a function from a step size to an optax transformation, got "
                f"{type(make).__name__}: write `lambda h: optax.sgd(h)`, or `optax.sgd` itself."
            )
    chosen = [Optimizer(name, make) for name, make in optimizers.items()]
    for optimizer in chosen:
        optimizer.at(step_size)
    return chosen


def check_start(y0: State) -> State:
    """The start, with its float leaves as JAX arrays."""
    y0 = as_state("y0", y0)
    if not size(y0):
        raise ValueError(f"`y0` must hold at least one float array with an entry, got {y0!r}.")
    return combine(jax.tree.map(jnp.asarray, floats(y0)), y0)


def check_step_sizes(step_sizes: Any) -> np.ndarray:
    """The step sizes in double precision, in their order."""
    try:
        array = np.asarray(step_sizes)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "iuf" or array.ndim != 1 or not array.size:
        raise ValueError(f"`step_sizes` must be a one-dimensional array of numbers, got {step_sizes!r}.")
    array = array.astype(np.float64)
    wrong = array[~((array > 0) & (array < math.inf))]
    if wrong.size:
        raise ValueError(f"`step_sizes` must be positive and finite, got {wrong[0]:g}: it is the time of one update.")
    return array


def check_time(t1: Any) -> float:
    """The end time as a number."""
    is_number = np.ndim(t1) == 0 and np.asarray(t1).dtype.kind in "iuf"
    if not is_number or not 0 < float(t1) < math.inf:
        raise ValueError(f"`t1` must be a positive, finite time, got {t1!r}.")
    return float(t1)
