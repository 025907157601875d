"""Which steps of a flow are stable: what methods bear at a state, and what becomes of runs."""

from typing import Any

import jax
import numpy as np

from .._tree import floats, label_of, ravel
from .._typing import State
from ..discrete import bears, bifurcation, discretize, stability_map, step_limit
from ..flow import AbstractFlow, GradientFlow, InertialFlow

_METHODS = ("euler", "heun", "rk4", "dopri5", "implicit_euler")
_WITH_MOMENTUM = ("heavy_ball", "nesterov")
_MOMENTUM = 0.9


def limits_by_method(flow: AbstractFlow, y: State) -> dict[str, float]:
    """The step limit of the usual methods at a state.

    Raises:
        ValueError: if the flow is of second order.
    """
    found = {method: (method, None) for method in _METHODS}
    found |= {f"{method}, momentum {_MOMENTUM:g}": (method, _MOMENTUM) for method in _WITH_MOMENTUM}
    if isinstance(flow, GradientFlow):  # one curvature for all of them
        step = float(step_limit(flow, y)) / bears("euler")
        return {name: step * bears(*how) for name, how in found.items()}
    return {name: float(step_limit(flow, y, method, momentum=beta)) for name, (method, beta) in found.items()}


def fates_over_steps(flow: AbstractFlow, y0: State, step_sizes: np.ndarray, momenta: np.ndarray | None) -> Any:
    """Where Euler's steps take the first number of a state in the end; with momenta, the fates of heavy balls."""
    # A model may integrate its plain right-hand side, and know its potential and metric beside it.
    knows, own = flow.potential, isinstance(flow, GradientFlow | InertialFlow)
    descent: Any = flow if own or knows is None else GradientFlow(knows, flow.metric)
    if momenta is None:
        found = bifurcation(descent, y0, step_sizes, observe=lambda y, args: ravel(y)[0])
        path, leaf = jax.tree.leaves_with_path(floats(y0))[0]
        found["observed"].attrs["long_name"] = label_of(path) or "y" + ("[0]" if leaf.ndim else "")
        return found
    return stability_map(
        lambda step_size, momentum: discretize(descent, step_size, "heavy_ball", momentum=momentum),
        y0,
        step_sizes,
        momentum=momenta,
    )
