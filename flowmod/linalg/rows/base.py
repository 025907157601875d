"""What a row factor is: the matrix `K` of a block's metric `D + K^T K`, held by what it is made of."""

import abc
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..blocks import Part


class AbstractRows(eqx.Module):
    """A row factor `K` over one block of parameters: `C` rows for each of `N` samples, a column for each number.

    A vector over the block is a tuple of arrays, one per leaf. A vector over the rows is an array of `row_shape`, as a
    rule (N, C). A mass has for each leaf a scalar or an array that broadcasts to the leaf's shape. Dense matrices have
    their rows sample by sample, and their columns leaf by leaf, each raveled.

    Subclasses give the products; what they leave to this class is worked out from `to_dense`.
    """

    @property
    @abc.abstractmethod
    def row_shape(self) -> tuple[int, ...]:
        """The shape of a vector over the rows."""

    @property
    @abc.abstractmethod
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each leaf of the block."""

    @abc.abstractmethod
    def mv(self, vector: Part) -> Float[Array, "N C"]:
        """`K vector`."""

    @abc.abstractmethod
    def rmv(self, rows: Float[Array, "N C"]) -> Part:
        """`K^T rows`."""

    @abc.abstractmethod
    def to_dense(self) -> Float[Array, "R P"]:
        """`K` itself."""

    @abc.abstractmethod
    def scaled(self, weights: Float[Array, "N C"]) -> "AbstractRows":
        """`diag(weights) K`, for weights that broadcast to `row_shape`."""

    @property
    def count(self) -> int:
        """`R = N C`, how many rows there are."""
        return math.prod(self.row_shape)

    @property
    def columns(self) -> int:
        """`P`, how many numbers the block has."""
        return sum(map(math.prod, self.shapes))

    @property
    def places(self) -> Int[np.ndarray, "L P"]:
        """For each layer of the factor where its numbers stand in the raveled block: one layer, unless repeated."""
        return np.arange(self.columns)[None]

    def gram(self, mass: Part) -> Float[Array, "R R"]:
        """`K D^-1 K^T`."""
        dense = self.to_dense()
        return (dense / raveled_mass(mass, self.shapes)[None]) @ dense.T

    def normal(self) -> Float[Array, "P P"]:
        """`K^T K`."""
        dense = self.to_dense()
        return dense.T @ dense

    def sample_grams(self, mass: Part) -> Float[Array, "N C C"]:
        """The blocks of `K D^-1 K^T` on its diagonal, one for each sample."""
        dense = self.to_dense().reshape(*self.row_shape, -1)
        return jnp.einsum("ncp,nep->nce", dense / raveled_mass(mass, self.shapes)[None, None], dense)


def raveled_mass(mass: Part, shapes: tuple[tuple[int, ...], ...]) -> Float[Array, " P"]:
    """The diagonal of `D`, an entry for each number of a block."""
    return jnp.concatenate([jnp.broadcast_to(entry, shape).ravel() for entry, shape in zip(mass, shapes, strict=True)])
