"""Data as users have it: one entry per sample on the first axis, numbers, finite."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._tree import dtype_of, is_float_array, is_traced


def as_samples(argument: str, samples: Any) -> Array:
    """Samples as an array with one entry per sample on its first axis, finite where they are floats."""
    try:
        array = jnp.asarray(samples)
    except (TypeError, ValueError) as error:
        kind = np.asarray(samples, dtype=object).ravel()[:1]
        raise ValueError(
            f"`{argument}` must be an array of numbers, one entry per sample, got {type(samples).__name__} of "
            f"{type(kind[0]).__name__ if kind.size else 'nothing'}: number the classes of text, make rows equally long."
        ) from error
    if jnp.iscomplexobj(array):
        raise ValueError(f"`{argument}` must be real, got {array.dtype}: give real and imaginary parts as numbers.")
    if array.ndim == 0 or array.shape[0] == 0:
        raise ValueError(f"`{argument}` must have samples along its first axis, got shape {array.shape}.")
    if is_float_array(array) and not is_traced(array):
        finite = np.isfinite(np.asarray(array)).reshape(array.shape[0], -1).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"`{argument}` must be finite, but sample {np.argmin(finite)} is not ({np.sum(~finite)} in all): drop "
                "or repair it."
            )
    return array


def cast_samples(inputs: Array, module: PyTree) -> Array:
    """Float samples in the precision of the parameters: a float32 network is not widened by float64 data."""
    return inputs.astype(dtype_of(module)) if is_float_array(inputs) else inputs
