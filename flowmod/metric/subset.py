"""A metric on some of a batch's samples, for a gradient on all of them."""

from typing import Any

import equinox as eqx
import numpy as np

from .._typing import Args, Covector, State, Vector
from ..linalg import AbstractRows, Blocks, Solution
from ..linalg import Covector as CovectorParts
from ..loss import batch_of
from ._base import AbstractMetric
from ._modular import AbstractModularMetric, Operator


class SubsetMetric(AbstractMetric):
    """A modular metric on `samples` of the samples that `args = (inputs, targets)` brings, evenly spaced.

    Its rows are scaled by their own number, so that it estimates the metric of the whole batch, at the cost of a
    smaller one. A gradient of the whole batch is not in the range of its rows: what sticks out is divided by the mass,
    which should therefore not be small. Which samples they are is fixed, so that a flow in it is well defined.

    Args:
        metric: a modular metric without samples of its own, as of a problem without data.
        samples: how many samples; all of a batch that has no more.

    Raises:
        ValueError: if `metric` is no modular metric or has samples of its own, or `samples` is no whole number from 1.

    Example:
        ```python
        problem = fm.Supervised(net, fm.SoftmaxCrossEntropy())
        metric = fm.SubsetMetric(fm.LayerwiseMetric.of(problem, mass=0.1), samples=64)
        ```
    """

    metric: AbstractModularMetric
    samples: int = eqx.field(static=True)

    def __check_init__(self):
        if not isinstance(self.metric, AbstractModularMetric):
            raise ValueError(
                f"`metric` must be a modular metric such as `fm.LayerwiseMetric.of(problem)`, got "
                f"{type(self.metric).__name__}."
            )
        if self.metric.inputs is not None:
            raise ValueError(
                "`metric` must take its samples from `args`, but it has some of its own: give it fewer of them, "
                "`fm.LayerwiseMetric(module, inputs[::4])`."
            )
        if isinstance(self.samples, bool) or not isinstance(self.samples, int | np.integer) or self.samples < 1:
            raise ValueError(f"`samples` must be a whole number from 1, got {self.samples!r}.")

    @property
    def owners(self) -> Blocks:
        """Which leaves form a block."""
        return self.metric.owners

    def factors(self, y: State, args: Args = None) -> tuple[AbstractRows, ...]:
        """The row factor of each layer on the subset, scaled by `1/sqrt samples`."""
        return self.metric.factors(y, self.part(args))

    def part(self, args: Args) -> tuple[Any, Any]:
        """The samples of a batch that are used."""
        inputs, targets = batch_of(None, None, args)
        count = inputs.shape[0]
        chosen = np.arange(min(self.samples, count)) * count // min(self.samples, count)
        return inputs[chosen], targets[chosen]

    def assemble(self, factors: tuple[AbstractRows, ...], y: State) -> Operator:
        """The operator made of the factors of the layers."""
        return self.metric.assemble(factors, y)

    def solve(self, operator: Operator, covector: CovectorParts) -> Solution:
        """`M^-1 covector` with its true residual for each block."""
        return self.metric.solve(operator, covector)

    def damped(self, factor: Any) -> "SubsetMetric":
        """The same metric with its mass times a factor."""
        return SubsetMetric(self.metric.damped(factor), self.samples)

    def __call__(self, y: State, args: Args = None) -> Operator:
        return self.metric(y, self.part(args))

    def flat(self, y: State, vector: Vector, args: Args = None) -> Covector:
        return self.metric.flat(y, vector, self.part(args))

    def sharp(self, y: State, covector: Covector, args: Args = None) -> Vector:
        return self.metric.sharp(y, covector, self.part(args))

    def at(self, t) -> "SubsetMetric":
        return self
