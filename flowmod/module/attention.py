"""Multi-head self-attention, composed of four affine maps."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ._checks import require_sample, require_sizes
from .linear import Linear
from .module import AbstractModule


class Attention(AbstractModule):
    """Self-attention of samples (S, size): each position takes up the values of those whose keys fit its query.

    Its four affine maps are blocks of their own.

    Args:
        size: numbers of a position.
        heads: how many attentions there are, each on `size / heads` numbers.
        causal: whether a position sees only those before it and itself.
        use_bias: whether the four maps have biases.
        key: for the initial values, those of `fm.Linear`.

    Raises:
        ValueError: if the heads do not divide the size, or a sample has another shape.

    Reference: Vaswani et al., "Attention Is All You Need", arXiv:1706.03762.
    """

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    heads: int = eqx.field(static=True)
    causal: bool = eqx.field(static=True)

    def __init__(self, size: int, heads: int, causal: bool = False, use_bias: bool = True, *, key: Key[Array, ""]):
        require_sizes(size=size, heads=heads)
        if size % heads:
            raise ValueError(f"`heads` must divide the {size} numbers of a position, got {heads}.")
        self.query, self.key, self.value, self.output = (
            Linear(size, size, use_bias, key=one) for one in jax.random.split(key, 4)
        )
        self.heads, self.causal = heads, causal

    def __call__(self, z: Float[Array, "S size"]) -> Float[Array, "S size"]:
        size = self.query.weight.shape[1]
        require_sample(z.ndim == 2 and z.shape[1] == size, f"Attention({size}, {self.heads})", f"(S, {size})", z.shape)
        query, key, value = (
            jax.vmap(layer)(z).reshape(len(z), self.heads, -1) for layer in (self.query, self.key, self.value)
        )
        # Not `jax.nn.dot_product_attention`, whose derivatives have single precision only.
        scores = jnp.einsum("shd,thd->hst", query, key) / (size // self.heads) ** 0.5
        if self.causal:
            scores = jnp.where(jnp.tril(jnp.ones_like(scores, bool)), scores, -jnp.inf)
        attended = jnp.einsum("hst,thd->shd", jax.nn.softmax(scores), value)
        return jax.vmap(self.output)(attended.reshape(len(z), size))
