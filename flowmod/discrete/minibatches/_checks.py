"""Input of optimizers on minibatches: refused with the argument, the value and the cure."""

from typing import Any

import jax
import jax.numpy as jnp


def check_key(key: Any) -> None:
    """Raise a `ValueError` unless it is one JAX random key, of the new kind or the old."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    is_new = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ()
    is_old = dtype == jnp.uint32 and shape is not None and len(shape) == 1
    if not (is_new or is_old):
        raise ValueError(f"`key` must be one JAX random key, such as `jax.random.key(0)`, got {key!r}.")
