"""Input of a comparison: made into what is worked with, or refused with the argument, the value and the cure."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...flow import AbstractFlow, InertialFlow, require_flow
from ._optimizer import Optimizer
from ._schedule import RECORDS


def check_flows(flow: Any) -> dict[str, AbstractFlow]:
    """The flows by name, each with a potential in its whole state; a single one has no name to be told by."""
    if not isinstance(flow, Mapping):
        check_flow("flow", flow)
        return {"": flow}
    if not (flow and all(isinstance(name, str) for name in flow)):
        raise ValueError(f"`flow` must be a flow, or a dict from names to flows, got {flow!r}.")
    for name, each in flow.items():
        check_flow(f"flow[{name!r}]", each)
    return dict(flow)


def check_flow(argument: str, flow: AbstractFlow) -> None:
    require_flow(flow)
    if isinstance(flow, InertialFlow):
        raise ValueError(
            f"`{argument}` must be of first order, got InertialFlow, whose velocities no optimizer has: compare with "
            "`fm.GradientFlow(flow.potential, flow.metric)`."
        )
    if flow.potential is None:
        raise ValueError(
            f"`{argument}` must have a potential, the loss of the optimizers, got {type(flow).__name__} without one: "
            "use `fm.GradientFlow(potential)` or `fm.VectorField(fn, potential=potential)`."
        )


def check_optimizers(optimizers: Any, step_size: float, flows: dict[str, AbstractFlow]) -> list[Optimizer]:
    """The optimizers of a dict from names to functions, each made once for every flow, with a step size."""
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
        for flow in flows.values():
            optimizer.at(step_size, flow)
    return chosen


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
    return _positive("t1", t1, "time")


def check_tolerances(rtol: Any, atol: Any, dtype: np.dtype) -> tuple[float, Any]:
    """The tolerances of the flow's run; by default far below what an optimizer differs by."""
    rtol = _TOLERANCES.get(dtype, 1e-9) if rtol is None else _positive("rtol", rtol, "number")
    return rtol, rtol / 1000 if atol is None else atol


_TOLERANCES = {np.dtype("float64"): 1e-9, np.dtype("float32"): 1e-5}


def check_updates(updates: Any) -> int:
    """The fewest updates of a run."""
    is_whole = isinstance(updates, int | np.integer) and not isinstance(updates, bool)
    if not is_whole or updates < RECORDS:
        raise ValueError(
            f"`updates` must be a whole number of at least {RECORDS}, the records of a run, got {updates!r}."
        )
    return int(updates)


def _positive(argument: str, value: Any, kind: str) -> float:
    is_number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"
    if not is_number or not 0 < float(value) < math.inf:
        raise ValueError(f"`{argument}` must be a positive, finite {kind}, got {value!r}.")
    return float(value)
