"""The per-sample metric: the harmonic mean over samples of their own layerwise metrics."""

from .._tree import dtype_of
from .._typing import State
from ..linalg import AbstractRows, Covector, PerSampleOperator, Solution
from ._modular import AbstractModularMetric


class PerSampleMetric(AbstractModularMetric):
    """The metric whose inverse is the mean of those of single samples: `M_a^-1 = mean_n (D_a + K_n^T K_n)^-1`.

    It is another metric than `fm.LayerwiseMetric`, and a much cheaper one: samples do not see each other, and a solve
    takes matrices of `C` rows only. With one sample they are the same. A product with the metric itself is a solve by
    conjugate gradients.

    Args:
        module: as for `fm.LayerwiseMetric`, and so are the other arguments.
        solver: `"auto"` is the only one.
        tolerance: relative residual of a product with the metric.

    Raises:
        ValueError: as `fm.LayerwiseMetric`.
    """

    SOLVERS = ("auto",)

    def assemble(self, factors: tuple[AbstractRows, ...], y: State) -> PerSampleOperator:
        tolerance = self.tolerance.at(dtype_of(y))
        return PerSampleOperator(factors, self.mass_at(factors, y), self.owners, y, tolerance)

    def solve(self, operator: PerSampleOperator, covector: Covector) -> Solution:
        return operator.solve(covector)
