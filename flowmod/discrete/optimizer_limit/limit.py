"""What `flow_of` returns: a flow, and the clock that it shares with its optimizer."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import floats
from ..._typing import Args, Potential, State, Vector
from ...flow import AbstractFlow, InertialFlow, Units
from ...metric import AbstractMetric
from .clock import Clock, check_counts, number
from .moment_flow import MomentFlow
from .rate import Powers, Rate


class OptimizerLimit(AbstractFlow):
    """The continuous limit of an optimizer: a flow like any other, which knows when the optimizer's updates are.

    Attributes:
        flow: the flow as what it is: a `GradientFlow`, a `VectorField`, an `InertialFlow`, or, with memory, one of the
            state and its averages.
        clock: how much time an update takes.
    """

    flow: AbstractFlow
    clock: "ClockFace"

    def __init__(self, flow: AbstractFlow, rate: Rate):
        self.flow = flow
        self.clock = ClockFace(number(rate.number), rate.powers)

    def time(self, n: int | Sequence[int] | np.ndarray) -> np.ndarray:
        """The time of iterate `n`: what the `n` updates before it took, together.

        Args:
            n: numbers of updates, of any shape.

        Returns:
            Times, of the same shape, as a NumPy array.

        Raises:
            ValueError: if `n` is not whole, or a learning rate is negative.
        """
        return Clock(self.clock.rate, None).times(check_counts(n))

    def start(self, y0: State) -> State:
        """The state of the flow for parameters `y0` and an optimizer that was just made: `y0` where it has no memory.

        Args:
            y0: the parameters.
        """
        if isinstance(self.flow, MomentFlow):
            return self.flow.start(y0)
        return (y0, jax.tree.map(jnp.zeros_like, floats(y0))) if isinstance(self.flow, InertialFlow) else y0

    @property
    def potential(self) -> Potential | None:
        return self.flow.potential

    @property
    def metric(self) -> AbstractMetric | None:
        return self.flow.metric

    @property
    def units(self) -> Units:
        return self.flow.units

    @property
    def balanced(self) -> bool:
        return self.flow.balanced

    def vector_field(self, t, y: State, args: Args = None) -> Vector:
        return self.flow.vector_field(t, y, args)

    def position(self, y: State) -> State:
        """The parameters in a state of the flow."""
        return self.flow.position(y)

    def energy(self, t, y: State, args: Args = None):
        return self.flow.energy(t, y, args)

    def dissipation(self, t, y: State, velocity: Vector, args: Args = None):
        return self.flow.dissipation(t, y, velocity, args)


class ClockFace(eqx.Module):
    """A rate whose number is an array, so that another learning rate is not another program."""

    number: np.floating[Any]
    powers: Powers = eqx.field(static=True)

    @property
    def rate(self) -> Rate:
        return Rate(float(self.number), self.powers)
