"""The factors of equal layers on top of each other, in one set of arrays, so that a program does not grow with them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..blocks import Part
from .base import AbstractRows


class RepeatedRows(AbstractRows):
    """The factors of `L` equal layers: a block-diagonal `K`, with rows (L, N, C).

    Leaves, masses and rows have the layer as their first axis; a scalar mass is that of all layers.

    Attributes:
        each: one factor whose arrays have a first axis more.
    """

    each: AbstractRows

    @property
    def depth(self) -> int:
        """`L`, how many layers there are."""
        return jax.tree.leaves(self.each)[0].shape[0]

    @property
    def row_shape(self) -> tuple[int, ...]:
        return (self.depth, *self._one.row_shape)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple((self.depth, *shape) for shape in self._one.shapes)

    @property
    def places(self) -> Int[np.ndarray, "L P"]:
        places, start = [], 0
        for shape in self.shapes:
            size = math.prod(shape)
            places.append(np.arange(start, start + size).reshape(self.depth, -1))
            start += size
        return np.concatenate(places, axis=1)

    def mv(self, vector: Part) -> Float[Array, "L N C"]:
        return jax.vmap(lambda each, part: each.mv(part))(self.each, vector)

    def rmv(self, rows: Float[Array, "L N C"]) -> Part:
        return jax.vmap(lambda each, row: each.rmv(row))(self.each, rows)

    def scaled(self, weights: Float[Array, "L N C"]) -> "RepeatedRows":
        weights = jnp.broadcast_to(weights, self.row_shape)
        return RepeatedRows(jax.vmap(lambda each, row: each.scaled(row))(self.each, weights))

    def gram(self, mass: Part) -> Float[Array, "L R R"]:
        """`K D^-1 K^T` of each layer."""
        return self._by_layer(lambda each, part: each.gram(part), self._masses(mass))

    def normal(self) -> Float[Array, "L P P"]:
        """`K^T K` of each layer."""
        return jax.lax.map(lambda each: each.normal(), self.each)

    def sample_grams(self, mass: Part) -> Float[Array, "L N C C"]:
        return self._by_layer(lambda each, part: each.sample_grams(part), self._masses(mass))

    def to_dense(self) -> Float[Array, "R P"]:
        each = jax.lax.map(lambda each: each.to_dense(), self.each)
        rows = np.arange(self.count).reshape(self.depth, -1)
        dense = jnp.zeros((self.count, self.columns), each.dtype)
        return dense.at[rows[:, :, None], self.places[:, None, :]].set(each)

    def side_by_side(self) -> Float[Array, "R P"]:
        """The factors of the layers on the same rows, (N C, P)."""
        each = jax.lax.map(lambda each: each.to_dense(), self.each)
        dense = jnp.zeros((each.shape[1], self.columns), each.dtype)
        return dense.at[:, self.places].set(jnp.moveaxis(each, 0, 1))

    def apart(self, mass: Part) -> list[tuple[AbstractRows, Part]]:
        """The factor and the mass of each layer."""
        trees = (self.each, self._masses(mass))
        return [jax.tree.map(lambda leaf, layer=layer: leaf[layer], trees) for layer in range(self.depth)]

    @property
    def _one(self) -> AbstractRows:
        return jax.eval_shape(lambda each: jax.tree.map(lambda leaf: leaf[0], each), self.each)

    def _masses(self, mass: Part) -> Part:
        """The mass of each layer, a scalar where it is the same for all numbers of a leaf."""

        def by_layer(entry):
            entry = entry.ravel() if entry.size in (1, entry.shape[0]) else entry
            return jnp.broadcast_to(entry, (self.depth, *entry.shape[1:]))

        return tuple(map(by_layer, map(jnp.atleast_1d, mass)))

    def _by_layer(self, fn, *trees) -> Array:
        return jax.lax.map(lambda args: fn(*args), (self.each, *trees))
