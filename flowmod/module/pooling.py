"""The largest number or the mean of each window of a sample, channel by channel."""

import math
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._tree import as_float
from ._checks import require_sample, sizes_along
from .module import AbstractModule


class AbstractPooling(AbstractModule):
    """What poolings along one axis or several have in common."""

    axes: eqx.AbstractClassVar[tuple[str, ...]]
    window: tuple[int, ...] = eqx.field(static=True)
    stride: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, window: int | Sequence[int], stride: int | Sequence[int] | None = None):
        self.window = sizes_along("window", window, len(self.axes))
        self.stride = self.window if stride is None else sizes_along("stride", stride, len(self.axes))

    def _windows(self, z: Array, start: float, combine) -> Float[Array, "channels ..."]:
        wanted = f"(channels, {', '.join(self.axes)}) no smaller than its window"
        fits = z.ndim == 1 + len(self.axes) and all(np.greater_equal(z.shape[1:], self.window))
        require_sample(fits, f"{type(self).__name__}({self.window})", wanted, z.shape)
        return jax.lax.reduce_window(as_float(z), start, combine, (1, *self.window), (1, *self.stride), "VALID")


class AbstractMaxPool(AbstractPooling):
    """The largest number of each window."""

    def __call__(self, z: Float[Array, "channels ..."]) -> Float[Array, "channels ..."]:
        return self._windows(z, -jnp.inf, jax.lax.max)


class AbstractAvgPool(AbstractPooling):
    """The mean of each window."""

    def __call__(self, z: Float[Array, "channels ..."]) -> Float[Array, "channels ..."]:
        return self._windows(z, 0.0, jax.lax.add) / math.prod(self.window)


class MaxPool1d(AbstractMaxPool):
    """The largest number of each window of samples (channels, length), with the arguments of `fm.MaxPool2d`."""

    axes: ClassVar = ("length",)


class MaxPool2d(AbstractMaxPool):
    """The largest number of each window of samples (channels, height, width).

    Args:
        window: the size of a window, an integer or one for each axis.
        stride: from one window to the next, an integer or one for each axis; by default they touch.

    Raises:
        ValueError: if a size is not a positive integer, or a sample has other axes or is smaller than a window.
    """

    axes: ClassVar = ("height", "width")


class AvgPool1d(AbstractAvgPool):
    """The mean of each window of samples (channels, length), with the arguments of `fm.MaxPool2d`."""

    axes: ClassVar = ("length",)


class AvgPool2d(AbstractAvgPool):
    """The mean of each window of samples (channels, height, width), with the arguments of `fm.MaxPool2d`."""

    axes: ClassVar = ("height", "width")
