"""The rows of any map, as products with its derivative."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._tree import cast_like
from ..blocks import Part
from .base import AbstractRows


class AutodiffRows(AbstractRows):
    """The rows of any map, as products with its derivative.

    Args:
        apply: `apply(part, z)`, the output of one sample for a block's leaves.
        part: the block's leaves.
        inputs: the samples, (N, ...).
        costates: the costates at the outputs, (N, C, ...).
        why: why there is no factor with more structure, for a plan.
    """

    part: Part
    inputs: Float[Array, "N ..."]
    costates: Float[Array, "N C ..."]
    apply: Callable[[Part, Any], Any]
    push: Callable[[Part], Any]
    """The derivative of all outputs along a change of the block, linearised once."""
    why: str = eqx.field(static=True)

    def __init__(self, apply: Callable, part: Part, inputs: Array, costates: Array, why: str = ""):
        self.apply, self.part, self.inputs, self.costates, self.why = apply, part, inputs, costates, why
        self.push = jax.linearize(lambda part: jax.vmap(apply, (None, 0))(part, inputs), part)[1]

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.costates.shape[:2]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(leaf.shape for leaf in self.part)

    def mv(self, vector: Part) -> Float[Array, "N C"]:
        moved = self.push(cast_like(vector, self.part))
        return jnp.einsum("nco,no->nc", *map(_flat_outputs, (self.costates, moved), (2, 1)))

    def rmv(self, rows: Float[Array, "N C"]) -> Part:
        n = rows.shape[0]
        costate = jnp.einsum("nco,nc->no", _flat_outputs(self.costates, 2), rows)
        shape = (n, *self.costates.shape[2:])
        return jax.linear_transpose(self.push, self.part)(costate.reshape(shape))[0]

    def scaled(self, weights: Float[Array, "N C"]) -> "AutodiffRows":
        weights = jnp.broadcast_to(weights, self.row_shape)
        costates = self.costates * weights.reshape(*weights.shape, *(1,) * (self.costates.ndim - 2))
        return eqx.tree_at(lambda rows: rows.costates, self, costates)

    def to_dense(self) -> Float[Array, "R P"]:
        def rows_of(z, costates):
            _, pull = jax.vjp(lambda part: self.apply(part, z), self.part)
            return jax.vmap(pull)(costates)[0]

        leaves = jax.vmap(rows_of)(self.inputs, self.costates)
        # In the precision of the outputs, as products are.
        dtype = self.costates.dtype
        return jnp.concatenate([leaf.reshape(self.count, -1).astype(dtype) for leaf in leaves], axis=1)


def _flat_outputs(array: Array, lead: int) -> Array:
    return array.reshape(*array.shape[:lead], -1)
