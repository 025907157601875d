"""What the rows of affine layers have in common, applied once or at many positions of a sample."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .base import AbstractRows


class AbstractAffineRows(AbstractRows):
    """The rows of `z -> W z + b`, made of costates at its outputs and of its inputs.

    Attributes:
        costates: those at the layer's outputs, (N, C, ..., n_out).
        inputs: (N, ..., n_in).
        has_bias: whether the block has a second leaf.
    """

    costates: Float[Array, "N C ... n_out"]
    inputs: Float[Array, "N ... n_in"]
    has_bias: bool = eqx.field(static=True)

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.costates.shape[:2]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        o, d = self.costates.shape[-1], self.inputs.shape[-1]
        return ((o, d), (o,)) if self.has_bias else ((o, d),)

    def scaled(self, weights: Float[Array, "N C"]) -> "AbstractAffineRows":
        weights = jnp.broadcast_to(weights, self.row_shape)
        by_row = weights.reshape(*weights.shape, *(1,) * (self.costates.ndim - 2))
        return type(self)(self.costates * by_row, self.inputs, self.has_bias)

    def _extended_inputs(self) -> Float[Array, "N ... d"]:
        """The inputs with a one for the bias."""
        if not self.has_bias:
            return self.inputs
        ones = jnp.ones((*self.inputs.shape[:-1], 1), self.inputs.dtype)
        return jnp.concatenate([self.inputs, ones], axis=-1)
