"""A system given by its right-hand side."""

from collections.abc import Mapping

import equinox as eqx

from .._tree import require_arguments
from .._typing import Args, Field, Potential, State, Vector
from ..metric import AbstractMetric, Euclidean, require_metric
from ._base import AbstractFlow, Units, freeze_units, like_state, require_potential


class VectorField(AbstractFlow):
    """Any `y' = fn(t, y, args)`, with a metric to measure it in and, if it has one, the potential that it descends.

    With a potential the run keeps an energy ledger in the metric (Euclidean if none is given), which closes only if
    `fn` really is `-M^-1 grad f`: a check of the claim that the system is a gradient flow.

    Args:
        fn: the right-hand side, `fn(t, y, args)`, returning a tree like `y`, in [state]/time.
        metric: the metric that rates and ledgers are taken in; a rate without one is Euclidean.
        potential: `f(y, args)`, a scalar, if the system has one.
        units: a mapping from labels (`"time"`, `"potential"`, leaf paths) to unit strings.

    Raises:
        ValueError: if a function takes other arguments, or `metric` is not a metric; when run, if `fn` returns a
            tree or a shape that differs from the state's.
    """

    fn: Field
    metric: AbstractMetric | None
    potential: Potential | None
    units: Units = eqx.field(static=True)

    def __init__(
        self,
        fn: Field,
        metric: AbstractMetric | None = None,
        potential: Potential | None = None,
        *,
        units: Mapping[str, str] | None = None,
    ):
        self.fn = fn
        self.metric = metric
        self.potential = potential
        self.units = freeze_units(units)

    def __check_init__(self):
        require_arguments("fn", self.fn, ("t", "y", "args"))
        if self.metric is not None:
            require_metric("metric", self.metric)
        if self.potential is not None:
            require_potential(self.potential)

    @property
    def balanced(self) -> bool:
        return self.potential is not None

    def vector_field(self, t, y: State, args: Args = None) -> Vector:
        return like_state("fn", self.fn(t, y, args), y)

    def position(self, y: State) -> State:
        return y

    def energy(self, t, y: State, args: Args = None):
        return None if self.potential is None else self.potential(y, args)

    def dissipation(self, t, y: State, velocity: Vector, args: Args = None):
        if self.potential is None:
            return None
        metric = Euclidean() if self.metric is None else self.metric.at(t)
        return metric.inner(y, velocity, velocity, args)
