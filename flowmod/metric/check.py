"""Is this a metric? A report at one state."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._tree import as_state, dtype_of, floats, ravel, traced_numbers, unraveler
from .._typing import Args, State
from ._base import AbstractMetric, require_metric
from ._matrix import asymmetry, tolerance


@dataclasses.dataclass(frozen=True)
class MetricReport:
    """What `check_metric` found at one state; `print` it, or test `.ok`.

    Attributes:
        finite: whether all entries of the matrix are finite.
        asymmetry: largest entry of `|M - M^T|` relative to the largest of `|M|`.
        smallest_eigenvalue: of the symmetric part.
        largest_eigenvalue: of the symmetric part.
        round_trip: largest entry of `|sharp(flat(v)) - v|` for a `v` of entries of size one.
        tolerance: what the asymmetry may be, from the precision.
    """

    finite: bool
    asymmetry: float
    smallest_eigenvalue: float
    largest_eigenvalue: float
    round_trip: float
    tolerance: float

    @property
    def symmetric(self) -> bool:
        return self.finite and self.asymmetry <= self.tolerance

    @property
    def positive(self) -> bool:
        return self.finite and self.smallest_eigenvalue > 0

    @property
    def condition(self) -> float:
        """Largest eigenvalue over smallest; infinite if the matrix is not positive definite."""
        return self.largest_eigenvalue / self.smallest_eigenvalue if self.positive else float("inf")

    @property
    def consistent(self) -> bool:
        """Whether `sharp` inverts `flat`, as well as the condition number lets it."""
        return self.round_trip <= max(self.tolerance, self.condition * self.tolerance**2 * 100)

    @property
    def ok(self) -> bool:
        return self.symmetric and self.positive and self.consistent

    def __str__(self) -> str:
        marks = {True: "yes", False: "NO"}
        return "\n".join(
            [
                f"finite             {marks[self.finite]}",
                f"symmetric          {marks[self.symmetric]}   |M - M^T|/|M| = {self.asymmetry:.2g}",
                f"positive definite  {marks[self.positive]}   eigenvalues {self.smallest_eigenvalue:.6g} to "
                f"{self.largest_eigenvalue:.6g}, condition {self.condition:.3g}",
                f"sharp inverts flat {marks[self.consistent]}   |sharp(flat(v)) - v| = {self.round_trip:.2g}",
            ]
        )


def check_metric(metric: AbstractMetric, y: State, args: Args = None, t: Any = 0.0) -> MetricReport:
    """Check that a metric is one at a state: symmetric, positive definite, and its `sharp` the inverse of its `flat`.

    The matrix is formed, so this is for states of up to a few thousand numbers.

    Args:
        metric: the metric; a moving one is taken at time `t`.
        y: the state, a pytree of float arrays.
        args: handed to the metric.
        t: the time, for a `MovingMetric`.

    Returns:
        A `MetricReport`. It does not raise for a bad metric: that is what it reports.
    """
    require_metric("metric", metric)
    y = as_state("y", y)
    matrix, round_trip = jax.tree.map(np.asarray, _measure(metric, y, traced_numbers(args), traced_numbers(t)))
    finite = bool(np.isfinite(matrix).all())
    eigenvalues = np.linalg.eigvalsh((matrix + matrix.T) / 2) if finite else np.full(1, np.nan)
    return MetricReport(
        finite=finite,
        asymmetry=float(asymmetry(matrix)) if finite else float("nan"),
        smallest_eigenvalue=float(eigenvalues[0]),
        largest_eigenvalue=float(eigenvalues[-1]),
        round_trip=float(round_trip),
        tolerance=tolerance(dtype_of(y)),
    )


@eqx.filter_jit
def _measure(metric, y, args, t):
    # Traced, so that the checks of concrete matrices do not raise before there is a report.
    metric = metric.at(t)
    matrix = metric(y, args).as_matrix()
    probe = jnp.cos(jnp.arange(matrix.shape[0], dtype=matrix.dtype))
    back = metric.sharp(y, metric.flat(y, unraveler(floats(y))(probe), args), args)
    return matrix, jnp.max(jnp.abs(ravel(back) - probe))
