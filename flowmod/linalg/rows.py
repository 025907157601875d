"""Row factors: the matrix `K` of a block's metric `D + K^T K`, held by what it is made of and never formed unasked.

A factor has `C` rows for each of `N` samples, and one column for each number of a block of parameters. A vector over
the block is a tuple of arrays, one per leaf; a vector over the rows is (N, C). Dense matrices have
their rows sample by sample, and their columns leaf by leaf, each raveled.
"""

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .blocks import Part


class AbstractRows(eqx.Module):
    """A row factor `K`, of `N C` rows over one block of parameters."""

    @property
    @abc.abstractmethod
    def count(self) -> int:
        """`R = N C`, how many rows there are."""

    @abc.abstractmethod
    def mv(self, vector: Part) -> Float[Array, "N C"]:
        """`K vector`."""

    @abc.abstractmethod
    def rmv(self, rows: Float[Array, "N C"]) -> Part:
        """`K^T rows`."""

    @abc.abstractmethod
    def gram(self, mass: Part) -> Float[Array, "R R"]:
        """`K D^-1 K^T`, for a diagonal mass `D` of which each entry is a scalar or an array like its leaf."""

    @abc.abstractmethod
    def normal(self) -> Float[Array, "P P"]:
        """`K^T K`."""

    @abc.abstractmethod
    def to_dense(self) -> Float[Array, "R P"]:
        """`K` itself."""


class KhatriRaoRows(AbstractRows):
    """The rows of an affine layer: row `(n, c)` is the outer product of a costate and of an input.

    `K K^T = (P P^T) o (Z Z^T + 1)` with `P` the costates at the layer's output and `Z` its inputs, so that neither a
    product nor the Gram matrix takes the rows themselves.

    Attributes:
        costates: `P`, (N, C, n_out).
        inputs: `Z`, (N, n_in).
        has_bias: whether the block has a second leaf.
    """

    costates: Float[Array, "N C n_out"]
    inputs: Float[Array, "N n_in"]
    has_bias: bool = eqx.field(static=True)

    @property
    def count(self) -> int:
        return math.prod(self.costates.shape[:2])

    def mv(self, vector: Part) -> Float[Array, "N C"]:
        moved = self.inputs @ vector[0].T
        if self.has_bias:
            moved = moved + vector[1][None]
        return jnp.einsum("nco,no->nc", self.costates, moved)

    def rmv(self, rows: Float[Array, "N C"]) -> Part:
        costate = jnp.einsum("nco,nc->no", self.costates, rows)
        weight = costate.T @ self.inputs
        return (weight, jnp.sum(costate, axis=0)) if self.has_bias else (weight,)

    def gram(self, mass: Part) -> Float[Array, "R R"]:
        if any(jnp.ndim(entry) for entry in mass):
            return _dense_gram(self.to_dense(), mass, self._shapes)
        outputs = self.costates.reshape(self.count, -1)
        inputs = self.inputs @ self.inputs.T / mass[0]
        if self.has_bias:
            inputs = inputs + 1 / mass[1]
        n, c = self.costates.shape[:2]
        product = (outputs @ outputs.T).reshape(n, c, n, c) * inputs[:, None, :, None]
        return product.reshape(self.count, self.count)

    def normal(self) -> Float[Array, "P P"]:
        extended = self._extended_inputs()
        per_sample = jnp.einsum("nco,ncp->nop", self.costates, self.costates)
        o, d = self.costates.shape[2], extended.shape[1]
        # Both factors of a sample are symmetric: a half of each is a quarter of the product.
        rows, columns = np.triu_indices(o), np.triu_indices(d)
        packed = per_sample[:, *rows].T @ (extended[:, columns[0]] * extended[:, columns[1]])
        dense = packed[_unpacked(o)[:, None, :, None], _unpacked(d)[None, :, None, :]].reshape(o * d, o * d)
        order = self._weights_then_biases(o, d)
        return dense[order[:, None], order[None, :]]

    def to_dense(self) -> Float[Array, "R P"]:
        n, c, o = self.costates.shape
        weight = (self.costates[:, :, :, None] * self.inputs[:, None, None, :]).reshape(n * c, -1)
        return jnp.concatenate([weight, self.costates.reshape(n * c, o)], axis=1) if self.has_bias else weight

    @property
    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        o, d = self.costates.shape[2], self.inputs.shape[1]
        return ((o, d), (o,)) if self.has_bias else ((o, d),)

    def _extended_inputs(self) -> Float[Array, "N d"]:
        if not self.has_bias:
            return self.inputs
        return jnp.concatenate([self.inputs, jnp.ones((self.inputs.shape[0], 1), self.inputs.dtype)], axis=1)

    def _weights_then_biases(self, o: int, d: int) -> np.ndarray:
        """Where each number of the block stands in the outer products of costates and extended inputs."""
        places = np.arange(o * d).reshape(o, d)
        return np.concatenate([places[:, :-1].ravel(), places[:, -1]]) if self.has_bias else places.ravel()


class AutodiffRows(AbstractRows):
    """The rows of any map, as products with its derivative.

    Args:
        apply: `apply(part, z)`, the output of one sample for a block's leaves.
        part: the block's leaves.
        inputs: the samples, (N, ...).
        costates: the costates at the outputs, (N, C, ...).
    """

    part: Part
    inputs: Float[Array, "N ..."]
    costates: Float[Array, "N C ..."]
    apply: Callable[[Part, Any], Any]
    push: Callable[[Part], Any]
    """The derivative of all outputs along a change of the block, linearised once."""

    def __init__(self, apply: Callable, part: Part, inputs: Array, costates: Array):
        self.apply, self.part, self.inputs, self.costates = apply, part, inputs, costates
        self.push = jax.linearize(lambda part: jax.vmap(apply, (None, 0))(part, inputs), part)[1]

    @property
    def count(self) -> int:
        return math.prod(self.costates.shape[:2])

    def mv(self, vector: Part) -> Float[Array, "N C"]:
        moved = self.push(vector)
        return jnp.einsum("nco,no->nc", *map(_flat_outputs, (self.costates, moved), (2, 1)))

    def rmv(self, rows: Float[Array, "N C"]) -> Part:
        n = rows.shape[0]
        costate = jnp.einsum("nco,nc->no", _flat_outputs(self.costates, 2), rows)
        shape = (n, *self.costates.shape[2:])
        return jax.linear_transpose(self.push, self.part)(costate.reshape(shape))[0]

    def gram(self, mass: Part) -> Float[Array, "R R"]:
        return _dense_gram(self.to_dense(), mass, tuple(leaf.shape for leaf in self.part))

    def normal(self) -> Float[Array, "P P"]:
        dense = self.to_dense()
        return dense.T @ dense

    def to_dense(self) -> Float[Array, "R P"]:
        def rows_of(z, costates):
            _, pull = jax.vjp(lambda part: self.apply(part, z), self.part)
            return jax.vmap(pull)(costates)[0]

        leaves = jax.vmap(rows_of)(self.inputs, self.costates)
        return jnp.concatenate([leaf.reshape(self.count, -1) for leaf in leaves], axis=1)


def _flat_outputs(array: Array, lead: int) -> Array:
    return array.reshape(*array.shape[:lead], -1)


def _dense_gram(rows: Float[Array, "R P"], mass: Part, shapes: tuple[tuple[int, ...], ...]) -> Float[Array, "R R"]:
    entries = [jnp.broadcast_to(entry, shape).ravel() for entry, shape in zip(mass, shapes, strict=True)]
    return (rows / jnp.concatenate(entries)[None]) @ rows.T


def _unpacked(n: int) -> np.ndarray:
    """For each entry of a symmetric (n, n) matrix its place among those on and above the diagonal."""
    places = np.zeros((n, n), dtype=int)
    rows, columns = np.triu_indices(n)
    places[rows, columns] = places[columns, rows] = np.arange(rows.size)
    return places
