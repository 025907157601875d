"""What a sample adds to a metric: a part of its own, divided by the number of samples, or nothing."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ..._tree import is_float_array, ravel, size, unraveler
from ..._typing import State
from ...linalg import random_start
from ...metric import AbstractMetric, PerSampleMetric, SubsetMetric, tolerance
from ._samples import Samples


def require_sum(metric: AbstractMetric | None) -> None:
    """Raise a `ValueError` for metrics of flowmod to which a sample adds no part of its own."""
    odd = PerSampleMetric | SubsetMetric
    for node in jax.tree.leaves(metric, is_leaf=lambda node: isinstance(node, odd)):
        if isinstance(node, odd):
            raise ValueError(
                "`flow` must have a metric to which each sample adds a part of its own, as `fm.LayerwiseMetric` does: "
                f"of {type(node).__name__} it is not known how far one sample can move it."
            )


def is_mean(metric: AbstractMetric, y: State, data: Samples) -> Bool[Array, ""]:
    """Whether the metric of the data is the mean of those of each sample alone, or is not finite."""
    vector = _any_vector(y)
    whole = ravel(metric.flat(y, vector, data))

    def add(carry, sample):
        count, mean, largest = carry
        alone = ravel(metric.flat(y, vector, jax.tree.map(lambda leaf: leaf[None], sample)))
        # A sum of many equal numbers would be rounded to one side.
        return (count + 1, mean + (alone - mean) / (count + 1), jnp.maximum(largest, jnp.abs(alone))), None

    zero = jnp.zeros_like(whole)
    _, mean, largest = jax.lax.scan(add, (jnp.zeros((), whole.dtype), zero, zero), data)[0]
    # Number by number: one block of the metric may be small beside another.
    return jnp.all((jnp.abs(mean - whole) <= tolerance(whole.dtype) * largest) | ~jnp.isfinite(whole))


def ignores_data(metric: AbstractMetric, y: State, data: Samples) -> Bool[Array, ""]:
    """Whether the metric of one sample that is not of the data is that of the data, or that is not finite."""
    vector = _any_vector(y)
    here, there = (ravel(metric.flat(y, vector, samples)) for samples in (data, jax.tree.map(_another, data)))
    return jnp.all((here == there) | ~jnp.isfinite(here))


def unknown_weights() -> ValueError:
    return ValueError(
        '`kind="leave-one-out"` keeps the weight 1/n of the others, and in a metric of your own that reads the data it '
        'is not known where that is: use `kind="replace-one"`.'
    )


def _any_vector(y: State):
    return unraveler(y)(random_start(size(y), ravel(y).dtype))


def _another(leaf: Array) -> Array:
    """A sample of other numbers: samples of the data may all have the same ones."""
    if is_float_array(leaf):
        return random_start(leaf[0].size, leaf.dtype).reshape(leaf[:1].shape)
    return ~leaf[:1] if leaf.dtype == bool else 1 - leaf[:1]
