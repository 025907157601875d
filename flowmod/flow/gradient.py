"""The gradient flow: a state that descends a potential as steeply as its metric allows."""

from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx

from .._typing import Args, Potential, State, Vector
from ..metric import AbstractMetric, Euclidean, require_metric, steepest_descent
from ._base import AbstractFlow, Units, freeze_units, require_potential
from ._shared import with_shared, without_shared


class GradientFlow(AbstractFlow):
    """The Riemannian gradient flow `M(y) y' = -grad f(y)`.

    Use it for whatever descends: training, mechanics with friction only, gene circuits with a landscape. Use
    `VectorField` for a system that is given by its right-hand side, with or without a potential.

    Args:
        potential: `f(y, args)`, a scalar float.
        metric: the mass matrix `M`; `fm.Euclidean()` by default. A first-order metric is a friction (unit
            [potential] x time / [state]^2), not an inertia.
        units: a mapping from labels (`"time"`, `"potential"`, leaf paths such as `"u"`) to unit strings.

    Raises:
        ValueError: if `potential` can't be called as `potential(y, args)` or `metric` is not a metric.

    Example:
        ```python
        flow = fm.GradientFlow(lambda y, args: 0.5 * jnp.sum(y**2), fm.ConstantMetric(M))
        trajectory = fm.simulate(flow, y0, t1=10.0)
        ```

    Reference: Pehle & Slotine, "Riemannian Optimization in Modular Systems", arXiv:2603.03610.
    """

    potential: Potential
    _metric: AbstractMetric
    units: Units = eqx.field(static=True)
    balanced: ClassVar[bool] = True

    def __init__(
        self, potential: Potential, metric: AbstractMetric | None = None, *, units: Mapping[str, str] | None = None
    ):
        self.potential = potential
        metric = Euclidean() if metric is None else metric
        require_metric("metric", metric)
        self._metric = without_shared(metric, potential)
        self.units = freeze_units(units)

    def __check_init__(self):
        require_potential(self.potential)

    @property
    def metric(self) -> AbstractMetric:
        return with_shared(self._metric, self.potential)

    def vector_field(self, t, y: State, args: Args = None) -> Vector:
        return steepest_descent(self.potential, self.metric.at(t), y, args)[2]

    def position(self, y: State) -> State:
        return y

    def energy(self, t, y: State, args: Args = None):
        return self.potential(y, args)

    def dissipation(self, t, y: State, velocity: Vector, args: Args = None):
        return self.metric.at(t).inner(y, velocity, velocity, args)
