"""The rows of parameters that are used in several ways: the sum of the rows of each use."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..blocks import Part
from .base import AbstractRows


class SummedRows(AbstractRows):
    """`K = K_1 + ... + K_l`, of the uses of the same leaves: a table that is both looked up and multiplied with.

    The Gram matrix has products of each use with each other, and is taken from `K` itself.

    Attributes:
        uses: a factor for each use, over the same leaves and with the same rows.
    """

    uses: tuple[AbstractRows, ...]

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.uses[0].row_shape

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.uses[0].shapes

    def mv(self, vector: Part) -> Float[Array, "N C"]:
        return functools.reduce(jnp.add, [use.mv(vector) for use in self.uses])

    def rmv(self, rows: Float[Array, "N C"]) -> Part:
        backs = [use.rmv(rows) for use in self.uses]
        return functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), backs)

    def scaled(self, weights: Float[Array, "N C"]) -> "SummedRows":
        return SummedRows(tuple(use.scaled(weights) for use in self.uses))

    def to_dense(self) -> Float[Array, "R P"]:
        return functools.reduce(jnp.add, [use.to_dense() for use in self.uses])
