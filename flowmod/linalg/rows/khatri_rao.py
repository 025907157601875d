"""The rows of an affine layer: each the outer product of a costate and of an input."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..blocks import Part
from .affine import AbstractAffineRows


class KhatriRaoRows(AbstractAffineRows):
    """The rows of `z -> W z + b`: row `(n, c)` is the outer product of a costate and of an input.

    `K K^T = (P P^T) o (Z Z^T + 1)` with `P` the costates at the layer's output and `Z` its inputs, so that neither a
    product nor the Gram matrix takes the rows themselves. A mass by output `(n_out, 1)` or by input `(1, n_in)` keeps
    this form; one by element is a sum of such products over the outputs.

    Attributes:
        costates: `P`, (N, C, n_out).
        inputs: `Z`, (N, n_in).
        has_bias: whether the block has a second leaf.
    """

    costates: Float[Array, "N C n_out"]
    inputs: Float[Array, "N n_in"]

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
        c = self.costates.shape[1]
        costates = self.costates.reshape(self.count, -1)

        def hadamard(outputs: Array, inputs: Array) -> Array:
            n = inputs.shape[0]
            return (outputs.reshape(n, c, n, c) * inputs[:, None, :, None]).reshape(self.count, self.count)

        if self._one_product(mass):
            inputs = (self.inputs / jnp.atleast_2d(mass[0])) @ self.inputs.T
            return hadamard(costates @ costates.T, inputs + 1 / mass[1] if self.has_bias else inputs)
        by_output, by_input = _separated(mass[0])
        if by_input is None:
            gram = self._elementwise_gram(costates, mass[0], hadamard)
        else:
            gram = hadamard((costates / by_output[None]) @ costates.T, (self.inputs / by_input[None]) @ self.inputs.T)
        return gram + (costates / jnp.atleast_1d(mass[1])[None]) @ costates.T if self.has_bias else gram

    def sample_grams(self, mass: Part) -> Float[Array, "N C C"]:
        by_output, by_input = _separated(mass[0])
        if by_input is None:
            # The mass of an output's weights, seen by the input of a sample.
            lengths = (self.inputs**2) @ (1 / mass[0]).T
            weighted = self.costates * lengths[:, None, :]
        else:
            lengths = jnp.sum(self.inputs**2 / by_input[None], axis=1)
            weighted = self.costates / by_output[None, None] * lengths[:, None, None]
        if self.has_bias:
            weighted = weighted + self.costates / jnp.atleast_1d(mass[1])[None, None]
        return jnp.einsum("nco,neo->nce", weighted, self.costates)

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

    def _one_product(self, mass: Part) -> bool:
        """Whether the masses of weights and bias leave one Hadamard product."""
        by_input = jnp.ndim(mass[0]) == 0 or (mass[0].shape[0] == 1 and self.shapes[0][0] > 1)
        return by_input and (not self.has_bias or jnp.ndim(mass[1]) == 0)

    def _elementwise_gram(self, costates: Array, mass: Array, hadamard) -> Float[Array, "R R"]:
        def add(gram, output):
            costate, masses = output
            return gram + hadamard(jnp.outer(costate, costate), (self.inputs / masses[None]) @ self.inputs.T), None

        zero = jnp.zeros((self.count, self.count), costates.dtype)
        return jax.lax.scan(add, zero, (costates.T, jnp.broadcast_to(mass, self.shapes[0])))[0]

    def _weights_then_biases(self, o: int, d: int) -> np.ndarray:
        """Where each number of the block stands in the outer products of costates and extended inputs."""
        places = np.arange(o * d).reshape(o, d)
        return np.concatenate([places[:, :-1].ravel(), places[:, -1]]) if self.has_bias else places.ravel()


def _separated(mass: Array) -> tuple[Array, Array | None]:
    """A mass as one by output times one by input, vectors; `None` for the second where it does not separate."""
    mass = jnp.atleast_2d(mass)
    one = jnp.ones(1, mass.dtype)
    if mass.shape[1] == 1:
        return mass[:, 0], one
    return (one, mass[0]) if mass.shape[0] == 1 else (mass, None)


def _unpacked(n: int) -> np.ndarray:
    """For each entry of a symmetric (n, n) matrix its place among those on and above the diagonal."""
    places = np.zeros((n, n), dtype=int)
    rows, columns = np.triu_indices(n)
    places[rows, columns] = places[columns, rows] = np.arange(rows.size)
    return places
