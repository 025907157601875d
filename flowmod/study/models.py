"""The built-in models, each with what a first look at it needs: a start, an end time, a box."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from .._typing import State
from ..bio import ToggleSwitch, toggle_switch
from ..flow import AbstractFlow, GradientFlow, InertialFlow
from ..metric import DenseMetric, PullbackMetric

Box = tuple[State, State]


@dataclasses.dataclass(frozen=True)
class Model:
    """A flow with its defaults.

    Attributes:
        name: what the command calls it.
        about: one line.
        make: makes the flow; every parameter has a default.
        start: a state as a tree of numbers; an `InertialFlow` starts there at rest.
        t1: an end time, in the flow's unit of time.
        box: the box of a flow's positions in which to look for equilibria, and to draw.
        scale: of the axes of a drawing.
    """

    name: str
    about: str
    make: Callable[..., AbstractFlow]
    start: State
    t1: float
    box: Callable[[Any], Box]
    scale: Literal["linear", "log"] = "linear"

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of `make` and their defaults."""
        return {name: parameter.default for name, parameter in inspect.signature(self.make).parameters.items()}


def _toggle_switch(a1: float = 156.25, a2: float = 15.6, n: float = 2.5, m: float = 1.0) -> ToggleSwitch:
    return toggle_switch(a1, a2, n, m)


def _beyond(flow: ToggleSwitch) -> Box:
    # The equilibria lie near the edge of the invariant box, where a drawing would cut their marks in half.
    lower, upper = flow.box
    return lower, jax.tree.map(lambda leaf: 1.25 * leaf, upper)


def _rosenbrock(steepness: float = 10.0) -> GradientFlow:
    """In the metric `J^T J` of its residual `r` the flow is `r' = -r`: straight to the floor of the valley."""

    def residual(y, args):
        return {"to_the_end": 1 - y["x"], "to_the_floor": steepness * (y["y"] - y["x"] ** 2)}

    def potential(y, args):
        r = residual(y, args)
        return (r["to_the_end"] ** 2 + r["to_the_floor"] ** 2) / 2

    return GradientFlow(potential, PullbackMetric(residual))


def _double_pendulum(damping: float = 0.5, gravity: float = 1.0) -> InertialFlow:
    """Two unit masses on unit rods; `q1` from the vertical, `q2` from the first rod."""

    def potential(q, args):
        return gravity * (2 * (1 - jnp.cos(q["q1"])) + 1 - jnp.cos(q["q1"] + q["q2"]))

    def mass(q, args):
        c = jnp.cos(q["q2"])
        return jnp.stack([jnp.stack([3 + 2 * c, 1 + c]), jnp.stack([1 + c, jnp.ones_like(c)])])

    return InertialFlow(potential, DenseMetric(mass), damping=damping)


_MODELS = (
    Model(
        name="toggle_switch",
        about="two genes that repress each other (BIOMD0000000507)",
        make=_toggle_switch,
        start={"u": 1.0, "v": 8.0},
        t1=20.0,
        box=_beyond,
        scale="log",
    ),
    Model(
        name="rosenbrock",
        about="Rosenbrock's valley, in its Gauss-Newton metric",
        make=_rosenbrock,
        start={"x": -1.2, "y": 1.0},
        t1=10.0,
        box=lambda flow: ({"x": -2.0, "y": -1.0}, {"x": 2.0, "y": 3.0}),
    ),
    Model(
        name="double_pendulum",
        about="a damped double pendulum, with inertia",
        make=_double_pendulum,
        start={"q1": 2.0, "q2": 0.0},
        t1=40.0,
        box=lambda flow: ({"q1": -4.0, "q2": -4.0}, {"q1": 4.0, "q2": 4.0}),
    ),
)

MODELS = {model.name: model for model in _MODELS}
