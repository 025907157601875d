"""A metric that changes with time, as an annealed or running average does."""

from collections.abc import Callable

import equinox as eqx
import lineax as lx

from .._tree import require_arguments
from .._typing import Args, Covector, State, Vector
from ._base import AbstractMetric
from .dense import DenseMetric


class MovingMetric(AbstractMetric):
    """A metric `M(t, y)` with a full matrix. Flows and rates use `metric.at(t)`, the metric of that moment.

    The explicit time dependence enters the contraction rate (a growing metric makes distances grow), but not the
    energy ledger of a first-order flow.

    Args:
        fn: `fn(t, y, args)` returns the (n, n) matrix in `ravel_pytree` order, symmetric positive definite.

    Raises:
        ValueError: when used without a time.
    """

    fn: Callable

    def __check_init__(self):
        require_arguments("fn", self.fn, ("t", "y", "args"))

    def at(self, t) -> DenseMetric:
        return DenseMetric(eqx.Partial(self.fn, t))

    def __call__(self, y: State, args: Args = None) -> lx.AbstractLinearOperator:
        raise ValueError("A `MovingMetric` is a metric only at a time: use `metric.at(t)`.")

    def flat(self, y: State, vector: Vector, args: Args = None) -> Covector:
        raise ValueError("A `MovingMetric` is a metric only at a time: use `metric.at(t).flat(...)`.")

    def sharp(self, y: State, covector: Covector, args: Args = None) -> Vector:
        raise ValueError("A `MovingMetric` is a metric only at a time: use `metric.at(t).sharp(...)`.")
