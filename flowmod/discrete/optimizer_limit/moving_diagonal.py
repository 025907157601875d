"""A diagonal metric that changes with time."""

from collections.abc import Callable

import equinox as eqx
import lineax as lx

from ..._typing import Args, Covector, State, Vector
from ...metric import AbstractMetric, DiagonalMetric


class MovingDiagonal(AbstractMetric):
    """The diagonal metric `fn(t, y, args)`: what groups with different learning-rate schedules are in the limit."""

    fn: Callable

    def at(self, t) -> DiagonalMetric:
        return DiagonalMetric(eqx.Partial(self.fn, t))

    def __call__(self, y: State, args: Args = None) -> lx.AbstractLinearOperator:
        raise ValueError(_TIMELESS)

    def flat(self, y: State, vector: Vector, args: Args = None) -> Covector:
        raise ValueError(_TIMELESS)

    def sharp(self, y: State, covector: Covector, args: Args = None) -> Vector:
        raise ValueError(_TIMELESS)


_TIMELESS = "The metric of learning rates that change is a metric only at a time: use `metric.at(t)`."
