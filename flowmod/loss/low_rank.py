"""A metric of outputs by its leading directions: few rows for hundreds of outputs, and the best of that rank."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._leading_basis import leading_basis
from .losses import AbstractLoss
from .output import AbstractOutputMetric, Coordinates, flat_rows, require_count, require_output


class OutputLowRank(AbstractOutputMetric):
    """The `rank` leading directions of another metric of outputs, one row for each: `U^T L`.

    `U` are the leading eigenvectors of `L L^T` for each sample. Nothing is random, but what is cut off costs nothing
    any more: the metric is too small, by what `kept` says, and its null directions are left to the mass.

    It is a smooth function of the outputs but where the eigenvalues next to the cut are equal: there, which direction
    is kept is arbitrary, the metric jumps, and its derivative is that with the directions held.

    Args:
        output: the metric to be cut.
        rank: how many rows to keep, at most those of that metric.

    Raises:
        ValueError: for a rank out of range.

    Reference: C. Eckart & G. Young, "The approximation of one matrix by another of lower rank" (1936).
    """

    output: AbstractOutputMetric
    rank: int = eqx.field(static=True)

    def __init__(self, output: AbstractOutputMetric, rank: int):
        require_output(output)
        require_count("rank", rank)
        self.output, self.rank = output, rank

    def rows(self, outputs: Float[Array, "N ..."], targets: Any) -> Float[Array, "N C ..."]:
        full = self.output.rows(outputs, targets)
        n, _, *shape = full.shape
        return self._leading(flat_rows(full)).reshape(n, self.rank, *shape)

    def coordinates(
        self, loss: AbstractLoss, outputs: Float[Array, "N ..."], costates: Float[Array, "N ..."]
    ) -> Coordinates | None:
        return None  # the costate is not in the range of so few rows

    def kept(self, outputs: Float[Array, "N ..."], targets: Any = None) -> Float[Array, " N"]:
        """The share of the trace of `L^T L` that the leading directions have, for each sample, up to 1."""
        rows = flat_rows(self.output.rows(outputs, targets))
        return jnp.sum(self._leading(rows) ** 2, axis=(1, 2)) / jnp.sum(rows**2, axis=(1, 2))

    def _leading(self, rows: Float[Array, "N R C"]) -> Float[Array, "N k C"]:
        if self.rank > rows.shape[1]:
            raise ValueError(
                f"`rank` must be at most the {rows.shape[1]} rows of the metric of the outputs, got {self.rank}."
            )
        basis = leading_basis(rows @ jnp.swapaxes(rows, 1, 2), self.rank)
        return jnp.swapaxes(basis, 1, 2)[:, : self.rank] @ rows
