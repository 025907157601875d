"""The mass of a metric, adapted while an optimizer runs: more where the model of the loss was wrong, less elsewhere."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..._tree import is_traced

_TRUSTED, _DOUBTED = 0.75, 0.25
"""Ratios of the actual and the predicted reduction, as Marquardt has them."""

_ROUNDING = 10
"""Units of rounding beyond which a reduction means something."""


class Damping(NamedTuple):
    """What the rule has found so far.

    Attributes:
        scale: what the metric's mass is multiplied with.
        ratio: the last reduction of the loss over the predicted one, of a prediction beyond rounding; NaN before.
    """

    scale: Float[Array, ""]
    ratio: Float[Array, ""]


class LevenbergMarquardt(eqx.Module):
    """Multiplies the mass by `factor` where a step gained less than 1/4 of what the metric's model had promised.

    So it does where the model had promised a rise or the loss is not finite; where a step gained more than 3/4, the
    mass is divided by `factor`, and where the promise is no more than rounding, it stays. The model is
    `f - h g.x + h^2/2 |K x|^2` for the step `-h x`, with the rows of all layers together and without the mass: the
    Gauss-Newton model of the loss, if the metric of the outputs is the one of the loss. The reduction is measured on
    the same batch, by one more forward pass. Every step is taken: the rule adapts the next one.

    Args:
        start: what the mass is multiplied with at first.
        factor: above 1.
        every: how many updates the mass stays as it is.
        limits: the least and the largest multiple.

    Raises:
        ValueError: if an argument is out of range.

    Reference: D. W. Marquardt, "An algorithm for least-squares estimation of nonlinear parameters" (1963); J. Martens,
        "Deep learning via Hessian-free optimization" (2010), for the ratio on a batch.
    """

    start: float = eqx.field(static=True, default=1.0)
    factor: float = eqx.field(static=True, default=1.5)
    every: int = eqx.field(static=True, default=1)
    limits: tuple[float, float] = eqx.field(static=True, default=(1e-6, 1e6))

    def __check_init__(self):
        for name in ("start", "factor", "limits"):
            if is_traced(getattr(self, name)):
                raise ValueError(f"`{name}` must be a number that is known when a program is compiled.")
        limits = self.limits
        if not isinstance(limits, tuple | list) or len(limits) != 2 or not all(map(_is_number, limits)):
            raise ValueError(f"`limits` must be two numbers, the least and the largest multiple, got {limits!r}.")
        if not _is_number(self.start) or not 0 < limits[0] <= self.start <= limits[1] < float("inf"):
            raise ValueError(f"`start` must be within `limits`, positive numbers, got {self.start!r} and {limits}.")
        if not _is_number(self.factor) or not 1 < self.factor < float("inf"):
            raise ValueError(f"`factor` must be a number above 1, got {self.factor!r}.")
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ValueError(f"`every` must be a whole number from 1, got {self.every!r}.")

    def initial(self, dtype: Any) -> Damping:
        """Before the first update."""
        return Damping(jnp.asarray(self.start, dtype), jnp.asarray(jnp.nan, dtype))

    def due(self, count: Array) -> Bool[Array, ""]:
        """Whether the mass is adapted at this update."""
        return count % self.every == 0

    def adapted(self, damping: Damping, value: Array, after: Array, predicted: Array, terms: Array) -> Damping:
        """The multiple for the next update.

        Args:
            damping: that of this one.
            value: the loss at the parameters.
            after: the loss after the step.
            predicted: by how much the model says it falls.
            terms: the size of what the loss is made of, `sum |g_i y_i|` over the parameters.
        """
        # Rounding the parameters alone moves the loss by eps times the terms. A fitted loss vanishes faster than they
        # do, so that its own rounding would be no bound, and the ratio of two rounding errors no verdict.
        rounding = _ROUNDING * jnp.finfo(value.dtype).eps * (jnp.abs(value) + terms)
        silent = (jnp.abs(predicted) <= rounding) & jnp.isfinite(value - after)
        ratio = (value - after) / jnp.where(silent, 1, predicted)
        # A step that overshoots in the model itself promises a rise, whatever the sign of the ratio.
        trusted, doubted = (ratio > _TRUSTED) & (predicted > 0), ~((ratio >= _DOUBTED) & (predicted > 0))
        verdict = jnp.where(trusted, 1 / self.factor, jnp.where(doubted, self.factor, 1.0))
        multiple = jnp.where(silent, 1.0, verdict).astype(damping.scale.dtype)
        scale = jnp.clip(damping.scale * multiple, *self.limits)
        return Damping(scale, jnp.where(silent, damping.ratio, ratio.astype(damping.ratio.dtype)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
