"""Samples brought to mean zero and variance one, then to a learned gain and bias."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._tree import as_float
from ._checks import require_sample, require_sizes
from .module import AbstractModule


class LayerNorm(AbstractModule):
    """`z -> weight (z - mean) / sqrt(variance + eps) + bias`, with mean and variance over all numbers of the sample.

    For a sample of positions, such as the tokens of a text, normalise each: `fm.Each(fm.LayerNorm(size))`.

    Args:
        shape: the shape of a sample, or its size if it is a vector.
        eps: what is added to the variance.
        use_weight: whether there is a gain for each number; ones at the start.
        use_bias: whether there is a bias for each number; zeros at the start.

    Attributes:
        weight: like a sample, or `None`.
        bias: like a sample, or `None`.

    Raises:
        ValueError: if the shape is not of positive integers, or a sample has another one.

    Reference: Ba, Kiros & Hinton, "Layer Normalization", arXiv:1607.06450.
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    weight: Float[Array, "..."] | None
    bias: Float[Array, "..."] | None

    def __init__(self, shape: int | Sequence[int], eps: float = 1e-5, use_weight: bool = True, use_bias: bool = True):
        self.shape = tuple(shape) if isinstance(shape, Sequence) else (shape,)
        for size in self.shape:
            require_sizes(shape=size)
        self.eps = _positive(eps)
        self.weight = jnp.ones(self.shape) if use_weight else None
        self.bias = jnp.zeros(self.shape) if use_bias else None

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        require_sample(z.shape == self.shape, f"LayerNorm({self.shape})", str(self.shape), z.shape)
        return _gained(_standardised(_in_precision(z, self), None, self.eps), self.weight, self.bias)


class GroupNorm(AbstractModule):
    """As `fm.LayerNorm`, with mean and variance over each group of channels, and a gain and a bias for each channel.

    Args:
        groups: into how many groups of equal size the channels fall.
        channels: the first axis of a sample (channels, ...).
        eps: what is added to the variance.
        use_weight: whether there is a gain for each channel; ones at the start.
        use_bias: whether there is a bias for each channel; zeros at the start.

    Attributes:
        weight: (channels,), or `None`.
        bias: (channels,), or `None`.

    Raises:
        ValueError: if the groups do not divide the channels, or a sample has other channels.

    Reference: Wu & He, "Group Normalization", arXiv:1803.08494.
    """

    groups: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    weight: Float[Array, " channels"] | None
    bias: Float[Array, " channels"] | None

    def __init__(self, groups: int, channels: int, eps: float = 1e-5, use_weight: bool = True, use_bias: bool = True):
        require_sizes(groups=groups, channels=channels)
        if channels % groups:
            raise ValueError(f"`groups` must divide the {channels} channels, got {groups}.")
        self.groups, self.channels, self.eps = groups, channels, _positive(eps)
        self.weight = jnp.ones(channels) if use_weight else None
        self.bias = jnp.zeros(channels) if use_bias else None

    def __call__(self, z: Float[Array, "channels ..."]) -> Float[Array, "channels ..."]:
        fits = z.ndim > 0 and z.shape[0] == self.channels
        require_sample(fits, f"GroupNorm({self.groups}, {self.channels})", f"({self.channels}, ...)", z.shape)
        groups = _in_precision(z, self).reshape(self.groups, -1)
        return _gained(_standardised(groups, 1, self.eps).reshape(z.shape), self.weight, self.bias)


def _positive(eps: float) -> float:
    if not 0 < eps:
        raise ValueError(f"`eps` must be positive, got {eps}: it keeps the variance of equal numbers from zero.")
    return float(eps)


def _in_precision(z: Array, layer: LayerNorm | GroupNorm) -> Float[Array, "..."]:
    parameters = jax.tree.leaves(layer)
    return z.astype(jnp.result_type(parameters[0])) if parameters else as_float(z)


def _standardised(z: Array, axis: int | None, eps: float) -> Array:
    centred = z - jnp.broadcast_to(jnp.mean(z, axis, keepdims=True), z.shape)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis, keepdims=True) + eps)


def _gained(z: Array, weight: Array | None, bias: Array | None) -> Array:
    """Parameters of the first axes, whole samples or channels."""
    if weight is not None:
        z = z * _like(weight, z)
    return z if bias is None else z + _like(bias, z)


def _like(parameter: Array, z: Array) -> Array:
    return jnp.broadcast_to(parameter.reshape(*parameter.shape, *(1,) * (z.ndim - parameter.ndim)), z.shape)
