"""Weight decay: a quadratic cost of the parameters themselves."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._tree import dot, floats, is_traced
from .._typing import Args, State


class WeightDecay(eqx.Module):
    """`rate/2 |y|^2` over all float leaves of a state, a potential of its own.

    It gives curvature where a loss has none: the null directions of an over-parametrised network contract at
    `rate / mass` and not at zero.

    Args:
        rate: positive, in [potential] / [state]^2.

    Raises:
        ValueError: if `rate` is not a positive number.
    """

    rate: Float[Array, ""]

    def __init__(self, rate: float | Float[Array, ""]):
        is_number = isinstance(rate, int | float) or (hasattr(rate, "dtype") and jnp.ndim(rate) == 0)
        if not is_traced(rate) and not (is_number and not jnp.iscomplexobj(rate) and 0 < rate < jnp.inf):
            raise ValueError(f"`rate` must be a positive number, got {rate!r}: leave the weight decay out for none.")
        self.rate = jnp.asarray(rate, dtype=float)

    def __call__(self, y: State, args: Args = None) -> Float[Array, ""]:
        squared = dot(floats(y), floats(y))
        return self.rate.astype(squared.dtype) / 2 * squared
