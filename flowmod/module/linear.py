"""The affine map, whose row factor never has to be formed."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..linalg import KhatriRaoRows
from ._checks import require_sizes
from .module import AbstractModule, Pull


class Linear(AbstractModule):
    """`z -> W z + b`.

    Args:
        n_in: numbers of a sample.
        n_out: numbers of an output.
        use_bias: whether there is a `b`.
        key: for the initial values, uniform within `1/sqrt(n_in)`.

    Attributes:
        weight: `W`, (n_out, n_in).
        bias: `b`, (n_out,), or `None`.

    Raises:
        ValueError: if a size is not a positive integer, or a sample has another size.
    """

    weight: Float[Array, "n_out n_in"]
    bias: Float[Array, " n_out"] | None

    def __init__(self, n_in: int, n_out: int, use_bias: bool = True, *, key: Key[Array, ""]):
        require_sizes(n_in=n_in, n_out=n_out)
        weight_key, bias_key = jax.random.split(key)
        bound = n_in**-0.5
        self.weight = jax.random.uniform(weight_key, (n_out, n_in), minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(bias_key, (n_out,), minval=-bound, maxval=bound) if use_bias else None

    def __call__(self, z: Float[Array, " n_in"]) -> Float[Array, " n_out"]:
        return self.linearise(z[None])[0][0]

    def linearise(self, inputs: Float[Array, "N n_in"]) -> tuple[Float[Array, "N n_out"], Pull]:
        n_out, n_in = self.weight.shape
        if inputs.shape[1:] != (n_in,):
            raise ValueError(
                f"`Linear({n_in}, {n_out})` needs samples of shape ({n_in},), got {inputs.shape[1:]}: flatten them, or "
                "make the layer for their size."
            )
        inputs = inputs.astype(jnp.result_type(self.weight))  # whole numbers, as of images, would wrap in products
        outputs = inputs @ self.weight.T
        if self.bias is not None:
            outputs = outputs + jnp.broadcast_to(self.bias, outputs.shape)

        def pull(costates):
            return (KhatriRaoRows(costates, inputs, self.bias is not None),), costates @ self.weight

        return outputs, pull
