"""The rows of a table in which a sample looks up entries."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..blocks import Part
from .base import AbstractRows


class LookupRows(AbstractRows):
    """The rows of `s -> E[index_s]`: row `(n, c)` has the costates of a sample at the entries that it looked up.

    No product takes entries that no sample looked up.

    Attributes:
        costates: those at what was looked up, (N, C, S, d).
        indices: which entries, (N, S).
        entries: how many entries of length `d` the table has.
    """

    costates: Float[Array, "N C S d"]
    indices: Int[Array, "N S"]
    entries: int = eqx.field(static=True)

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.costates.shape[:2]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.entries, self.costates.shape[3]),)

    def mv(self, vector: Part) -> Float[Array, "N C"]:
        return jnp.einsum("ncsd,nsd->nc", self.costates, vector[0][self.indices])

    def rmv(self, rows: Float[Array, "N C"]) -> Part:
        costate = jnp.einsum("ncsd,nc->nsd", self.costates, rows)
        return (jnp.zeros(self.shapes[0], costate.dtype).at[self.indices].add(costate),)

    def scaled(self, weights: Float[Array, "N C"]) -> "LookupRows":
        weights = jnp.broadcast_to(weights, self.row_shape)
        return LookupRows(self.costates * weights[:, :, None, None], self.indices, self.entries)

    def gram(self, mass: Part) -> Float[Array, "R R"]:
        # Entries that occur are numbered anew: a batch has fewer of them than a vocabulary.
        count = min(self.entries, self.indices.size)
        used, places = jnp.unique(self.indices, return_inverse=True, size=count, fill_value=0)
        masses = jnp.broadcast_to(mass[0], self.shapes[0])[used]
        places = places.reshape(self.indices.shape)

        def add(gram, numbers):
            costates, masses = numbers
            rows = self._at_entries(costates, places, count).reshape(self.count, -1)
            return gram + (rows / masses[None]) @ rows.T, None

        zero = jnp.zeros((self.count, self.count), self.costates.dtype)
        return jax.lax.scan(add, zero, (jnp.moveaxis(self.costates, 3, 0), masses.T))[0]

    def sample_grams(self, mass: Part) -> Float[Array, "N C C"]:
        masses = jnp.broadcast_to(mass[0], self.shapes[0])[self.indices]
        same = (self.indices[:, :, None] == self.indices[:, None, :]).astype(self.costates.dtype)
        # Positions with one entry add up before they are squared.
        together = jnp.einsum("ncsd,nst->nctd", self.costates / masses[:, None], same)
        return jnp.einsum("nctd,netd->nce", together, self.costates)

    def to_dense(self) -> Float[Array, "R P"]:
        rows = self._at_entries(self.costates, self.indices, self.entries)
        return rows.reshape(self.count, -1)

    def _at_entries(
        self, costates: Float[Array, "N C S ..."], places: Array, entries: int
    ) -> Float[Array, "N C E ..."]:
        """The costates added up by entry."""
        n, c, _, *rest = costates.shape
        zero = jnp.zeros((n, entries, c, *rest), costates.dtype)
        rows = zero.at[jnp.arange(n)[:, None], places].add(jnp.moveaxis(costates, 2, 1))
        return jnp.moveaxis(rows, 1, 2)
