"""Rows that are few or short enough to be held as they are."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..blocks import Part
from .base import AbstractRows


class DenseRows(AbstractRows):
    """A row factor that is held as a matrix.

    Attributes:
        matrix: `K`, (N, C, P), the columns leaf by leaf, each raveled.
        leaf_shapes: the shape of each leaf of the block.
    """

    matrix: Float[Array, "N C P"]
    leaf_shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.matrix.shape[:2]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.leaf_shapes

    def mv(self, vector: Part) -> Float[Array, "N C"]:
        return self.matrix @ jnp.concatenate([leaf.ravel() for leaf in vector])

    def rmv(self, rows: Float[Array, "N C"]) -> Part:
        flat = jnp.einsum("ncp,nc->p", self.matrix, rows)
        edges = np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1]
        return tuple(leaf.reshape(shape) for leaf, shape in zip(jnp.split(flat, edges), self.shapes, strict=True))

    def scaled(self, weights: Float[Array, "N C"]) -> "DenseRows":
        weights = jnp.broadcast_to(weights, self.row_shape)
        return DenseRows(self.matrix * weights[:, :, None], self.shapes)

    def to_dense(self) -> Float[Array, "R P"]:
        return self.matrix.reshape(self.count, -1)
