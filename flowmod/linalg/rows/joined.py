"""Factors of different blocks side by side: the rows of all layers at once."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..blocks import Part
from .base import AbstractRows
from .repeated import RepeatedRows


class JoinedRows(AbstractRows):
    """`K = [K_1 ... K_L]`: the leaves of all blocks are one block, whose Gram matrix is the sum of theirs.

    Attributes:
        factors: the factor of each block, with the same rows.
    """

    factors: tuple[AbstractRows, ...]

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.factors[0].row_shape[-2:]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(shape for factor in self.factors for shape in factor.shapes)

    def mv(self, vector: Part) -> Float[Array, "N C"]:
        return sum(
            _together(factor, factor.mv(part)) for factor, part in zip(self.factors, self.split(vector), strict=True)
        )  # pyright: ignore[reportReturnType]

    def rmv(self, rows: Float[Array, "N C"]) -> Part:
        return tuple(leaf for factor in self.factors for leaf in factor.rmv(jnp.broadcast_to(rows, factor.row_shape)))

    def scaled(self, weights: Float[Array, "N C"]) -> "JoinedRows":
        return JoinedRows(tuple(factor.scaled(weights) for factor in self.factors))

    def gram(self, mass: Part) -> Float[Array, "R R"]:
        return self._sum([factor.gram(part) for factor, part in self._with(mass)])

    def sample_grams(self, mass: Part) -> Float[Array, "N C C"]:
        return self._sum([factor.sample_grams(part) for factor, part in self._with(mass)])

    def to_dense(self) -> Float[Array, "R P"]:
        return jnp.concatenate(
            [
                factor.side_by_side() if isinstance(factor, RepeatedRows) else factor.to_dense()
                for factor in self.factors
            ],
            axis=1,
        )

    def split(self, vector: Part) -> tuple[Part, ...]:
        """A vector over all leaves, by factor."""
        parts, start = [], 0
        for factor in self.factors:
            parts.append(vector[start : start + len(factor.shapes)])
            start += len(factor.shapes)
        return tuple(parts)

    def _with(self, mass: Part):
        return zip(self.factors, self.split(mass), strict=True)

    def _sum(self, terms: list[Array]) -> Array:
        return sum(_together(factor, term) for factor, term in zip(self.factors, terms, strict=True))  # pyright: ignore[reportReturnType]


def _together(factor: AbstractRows, term: Array) -> Array:
    """What the repetitions of a factor give, added up."""
    return jnp.sum(term, axis=0) if isinstance(factor, RepeatedRows) else term
