"""A mass that follows the scale of the rows, so that it is a number without units."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._tree import is_traced
from ..linalg import AbstractRows, Parts


class TraceMass(eqx.Module):
    """`D_a = fraction * trace(K_a^T K_a) / P_a` for each layer: a fraction of the mean eigenvalue of its block.

    It moves with the state and is differentiated with the metric. A layer without any influence on the outputs has the
    mass one.

    Args:
        fraction: positive, without units.

    Raises:
        ValueError: if `fraction` is not a positive number.
    """

    fraction: Float[Array, ""]

    def __init__(self, fraction: Any):
        if not is_traced(fraction):
            is_number = np.ndim(fraction) == 0 and np.asarray(fraction).dtype.kind in "iuf"
            if not is_number or not 0 < float(fraction) < float("inf"):
                raise ValueError(f"`fraction` must be a positive number, got {fraction!r}: 1e-3, for example.")
        self.fraction = jnp.asarray(fraction, dtype=float)

    def by_block(self, factors: tuple[AbstractRows, ...], dtype: Any) -> Parts:
        """The mass by block and leaf, scalars."""
        return tuple((self._of(factor, dtype),) * len(factor.shapes) for factor in factors)

    def _of(self, factor: AbstractRows, dtype: Any) -> Float[Array, ""]:
        ones = tuple(jnp.ones((), dtype) for _ in factor.shapes)
        trace = jnp.einsum("...cc->", factor.sample_grams(ones))
        mean = trace / factor.columns
        return jnp.where(trace > 0, self.fraction.astype(dtype) * mean, 1)
