"""A learned vector for each of a finite number of symbols."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ._checks import require_sizes
from .module import AbstractModule


class Embedding(AbstractModule):
    """Whole numbers, such as the tokens of a text, to a vector for each: samples (...) to (..., size).

    A number outside of `0 ... count - 1` gives NaN.

    Args:
        count: how many symbols there are.
        size: numbers of a vector.
        key: for the initial values, normal with variance one.

    Attributes:
        weight: (count, size), the vector of each symbol.

    Raises:
        ValueError: if a size is not a positive integer, or the samples are not whole numbers.
    """

    weight: Float[Array, "count size"]

    def __init__(self, count: int, size: int, *, key: Key[Array, ""]):
        require_sizes(count=count, size=size)
        self.weight = jax.random.normal(key, (count, size))

    def __call__(self, z: Int[Array, "..."]) -> Float[Array, "... size"]:
        if not jnp.issubdtype(z.dtype, jnp.integer):
            raise ValueError(
                f"`Embedding{self.weight.shape}` needs samples of whole numbers, got {z.dtype}: convert them with "
                "`samples.astype(int)`."
            )
        return self.weight.at[z].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
