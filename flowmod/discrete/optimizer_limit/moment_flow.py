"""The limit of an optimizer that keeps its memory: a state with averages."""

from typing import ClassVar

import equinox as eqx

from ..._typing import Args, Potential, Scalar, State, Vector
from ...flow import AbstractFlow, Units
from ...metric import AbstractMetric
from .lines import Lines


class MomentFlow(AbstractFlow):
    """The flow of a state and of the averages of its gradients, `(y, averages)`, such as Adam with slow averages.

    It has no energy: what such an optimizer loses is no function of the state.

    Attributes:
        lines: how each leaf goes from its gradient to its velocity.
    """

    lines: Lines
    units: Units = eqx.field(static=True)
    balanced: ClassVar[bool] = False
    metric: ClassVar[AbstractMetric | None] = None

    def __init__(self, lines: Lines):
        self.lines = lines
        self.units = ()

    @property
    def potential(self) -> Potential:
        return self.lines.potential

    def start(self, y: State) -> tuple[State, tuple]:
        """A state with the averages that the optimizer begins with."""
        return y, self.lines.start(y)

    def vector_field(self, t: Scalar, y: tuple[State, tuple], args: Args = None) -> tuple[Vector, tuple]:
        place, averages = self._split(y)
        return self.lines.velocity(t, place, averages, args)

    def position(self, y: tuple[State, tuple]) -> State:
        return self._split(y)[0]

    def energy(self, t, y, args: Args = None) -> None:
        return None

    def dissipation(self, t, y, velocity, args: Args = None) -> None:
        return None

    def _split(self, y: tuple[State, tuple]) -> tuple[State, tuple]:
        if not (isinstance(y, tuple | list) and len(y) == 2 and isinstance(y[1], tuple | list)):
            raise ValueError(
                f"The state of an optimizer with memory is the pair (y, averages), got {type(y).__name__}: start with "
                "`limit.start(y0)`, where `limit = fm.flow_of(...)`."
            )
        return y[0], tuple(y[1])
