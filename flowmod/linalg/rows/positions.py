"""The rows of an affine layer that is applied at many places of a sample: sums of outer products."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..blocks import Part
from .affine import AbstractAffineRows

_WIDTH = 2048
"""About how many columns of `K` are held at once: enough for a fast product."""


class PositionRows(AbstractAffineRows):
    """The rows of `z_s -> W z_s + b` at `S` positions: row `(n, c)` is the sum over `s` of outer products.

    Convolutions, whose positions are their patches, layers mapped over a sequence, and a layer that is used `S` times
    have such rows. A product takes costates and inputs as they are; the Gram matrix takes a few outputs at a time.

    Attributes:
        costates: those at the layer's outputs, (N, C, S, n_out).
        inputs: (N, S, n_in).
        has_bias: whether the block has a second leaf.
    """

    costates: Float[Array, "N C S n_out"]
    inputs: Float[Array, "N S n_in"]

    def mv(self, vector: Part) -> Float[Array, "N C"]:
        moved = self.inputs @ vector[0].T
        if self.has_bias:
            moved = moved + vector[1][None, None]
        return jnp.einsum("ncso,nso->nc", self.costates, moved)

    def rmv(self, rows: Float[Array, "N C"]) -> Part:
        costate = jnp.einsum("ncso,nc->nso", self.costates, rows)
        weight = jnp.einsum("nso,nsd->od", costate, self.inputs)
        return (weight, jnp.sum(costate, axis=(0, 1))) if self.has_bias else (weight,)

    def gram(self, mass: Part) -> Float[Array, "R R"]:
        inputs, masses = self._extended_inputs(), self._extended_mass(mass)
        o, d = masses.shape
        few = largest_divisor(o, _WIDTH // d)

        def add(gram, outputs):
            costates, masses = outputs
            rows = jnp.einsum("kncs,nsd->nckd", costates, inputs).reshape(self.count, -1)
            return gram + (rows / masses.ravel()[None]) @ rows.T, None

        zero = jnp.zeros((self.count, self.count), self.costates.dtype)
        by_output = jnp.moveaxis(self.costates, 3, 0)
        split = (by_output.reshape(o // few, few, *by_output.shape[1:]), masses.reshape(o // few, few, d))
        return jax.lax.scan(add, zero, split)[0]

    def sample_grams(self, mass: Part) -> Float[Array, "N C C"]:
        masses = self._extended_mass(mass)

        def gram(sample):
            costates, inputs = sample
            rows = jnp.einsum("cso,sd->cod", costates, inputs)
            return jnp.einsum("cod,eod->ce", rows / masses[None], rows)

        return jax.lax.map(gram, (self.costates, self._extended_inputs()))

    def to_dense(self) -> Float[Array, "R P"]:
        weight = jnp.einsum("ncso,nsd->ncod", self.costates, self.inputs).reshape(self.count, -1)
        if not self.has_bias:
            return weight
        return jnp.concatenate([weight, jnp.sum(self.costates, axis=2).reshape(self.count, -1)], axis=1)

    def _extended_mass(self, mass: Part) -> Float[Array, "n_out d"]:
        columns = [jnp.broadcast_to(mass[0], self.shapes[0])]
        if self.has_bias:
            columns.append(jnp.broadcast_to(mass[1], self.shapes[1])[:, None])
        return jnp.concatenate(columns, axis=1)


def largest_divisor(total: int, most: int) -> int:
    """The largest divisor of `total` that is no more than `most`, at least one."""
    return max(part for part in range(1, max(1, min(total, most)) + 1) if total % part == 0)
