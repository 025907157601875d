"""Convolutions along the axes of a sample, channels first."""

import math
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ._checks import require_sample, require_sizes, sizes_along
from .module import AbstractModule


class AbstractConvolution(AbstractModule):
    """What convolutions along one axis or several have in common."""

    axes: eqx.AbstractClassVar[tuple[str, ...]]
    weight: Float[Array, "out_channels in_channels ..."]
    bias: Float[Array, " out_channels"] | None
    stride: tuple[int, ...] = eqx.field(static=True)
    padding: str | tuple[tuple[int, int], ...] = eqx.field(static=True)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        use_bias: bool = True,
        *,
        key: Key[Array, ""],
    ):
        require_sizes(in_channels=in_channels, out_channels=out_channels)
        kernel = sizes_along("kernel_size", kernel_size, len(self.axes))
        weight_key, bias_key = jax.random.split(key)
        bound = (in_channels * math.prod(kernel)) ** -0.5
        self.weight = jax.random.uniform(weight_key, (out_channels, in_channels, *kernel), minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(bias_key, (out_channels,), minval=-bound, maxval=bound) if use_bias else None
        self.stride = sizes_along("stride", stride, len(self.axes))
        self.padding = _padding(padding, len(self.axes))

    def __call__(self, z: Float[Array, "in_channels ..."]) -> Float[Array, "out_channels ..."]:
        out_channels, in_channels, *kernel = self.weight.shape
        layer = f"{type(self).__name__}({in_channels}, {out_channels}, {tuple(kernel)})"
        wanted = f"({in_channels}, {', '.join(self.axes)})"
        require_sample(z.ndim == 1 + len(self.axes) and z.shape[0] == in_channels, layer, wanted, z.shape)
        images = z.astype(jnp.result_type(self.weight))[None]
        outputs = jax.lax.conv_general_dilated(images, self.weight, self.stride, self.padding)[0]
        require_sample(outputs.size > 0, layer, f"{wanted} no smaller than its kernel", z.shape)
        if self.bias is None:
            return outputs
        return outputs + jnp.broadcast_to(self.bias.reshape(-1, *(1,) * len(self.axes)), outputs.shape)


class Conv1d(AbstractConvolution):
    """A convolution of samples (channels, length), with the arguments of `fm.Conv2d`; `weight` has one axis less."""

    axes: ClassVar = ("length",)


class Conv2d(AbstractConvolution):
    """A convolution (cross-correlation, as everywhere in deep learning) of samples (channels, height, width).

    Args:
        in_channels: channels of a sample.
        out_channels: channels of an output.
        kernel_size: an integer, or one for each axis.
        stride: how far the kernel moves, an integer or one for each axis.
        padding: zeros on both sides, an integer or one for each axis; `"SAME"` for outputs of the size of the sample
            divided by the stride; `"VALID"` for none.
        use_bias: whether there is a bias.
        key: for the initial values, uniform within `1/sqrt(in_channels * numbers of the kernel)`.

    Attributes:
        weight: (out_channels, in_channels, kernel height, kernel width).
        bias: (out_channels,), or `None`.

    Raises:
        ValueError: if a size is not a positive integer, the padding is none of these, or a sample has other channels or
            is smaller than the kernel.
    """

    axes: ClassVar = ("height", "width")


def _padding(padding: int | Sequence[int] | str, axes: int) -> str | tuple[tuple[int, int], ...]:
    if padding in ("SAME", "VALID"):
        return str(padding)
    along = tuple(padding) if isinstance(padding, tuple | list) else (padding,) * axes
    whole = all(isinstance(size, int | np.integer) and size >= 0 for size in along)
    if len(along) != axes or not whole:
        raise ValueError(
            f"`padding` must be 'SAME', 'VALID', or a number of zeros that is not negative, for all axes or one for "
            f"each of {axes}, got {padding!r}."
        )
    return tuple((int(size), int(size)) for size in along)  # pyright: ignore[reportArgumentType]
