"""The mass of a metric, adapted while an optimizer runs: more where the model of the loss was wrong, less elsewhere."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._tree import is_traced

_TRUSTED, _DOUBTED = 0.75, 0.25
"""Ratios of the actual and the predicted reduction, as Marquardt has them."""

_ROUNDING = 10
"""Units of rounding of the loss, beyond which a reduction means something."""


class Damping(NamedTuple):
    """What the rule has found so far.

    Attributes:
        scale: what the metric's mass is multiplied with.
        ratio: the last reduction of the loss over the predicted one; NaN before the first.
    """

    scale: Float[Array, ""]
    ratio: Float[Array, ""]


class LevenbergMarquardt(eqx.Module):
    """Multiplies the mass by `factor` where a step gained less than 1/4 of what the metric's model had promised.

    So it does where the model had promised nothing or the loss is not finite; where a step gained more than 3/4, the
    mass is divided by `factor`. The model is `f - h g.x + h^2/2 |K x|^2` for the
    step `-h x`, with the rows of all layers together and without the mass: the Gauss-Newton model of the loss, if the
    metric of the outputs is the one of the loss. The reduction is measured on the same batch, by one more forward pass.
    Every step is taken: the rule adapts the next one.

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
        least, most = self.limits
        if not 0 < least <= self.start <= most < float("inf"):
            raise ValueError(f"`start` must be within `limits`, positive numbers, got {self.start} and {self.limits}.")
        if not 1 < self.factor < float("inf"):
            raise ValueError(f"`factor` must be above 1, got {self.factor}.")
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ValueError(f"`every` must be a whole number from 1, got {self.every!r}.")

    def initial(self, dtype: Any) -> Damping:
        """Before the first update."""
        return Damping(jnp.asarray(self.start, dtype), jnp.asarray(jnp.nan, dtype))

    def due(self, count: Array) -> Bool[Array, ""]:
        """Whether the mass is adapted at this update."""
        return count % self.every == 0

    def adapted(self, damping: Damping, value: Array, after: Array, predicted: Array) -> Damping:
        """The multiple for the next update.

        Args:
            damping: that of this one.
            value: the loss at the parameters.
            after: the loss after the step.
            predicted: by how much the model says it falls.
        """
        # Where both reductions are rounding there is nothing to learn: their ratio is then one or so.
        rounding = _ROUNDING * jnp.finfo(value.dtype).eps * jnp.abs(value)
        promised = predicted + rounding
        ratio = (value - after + rounding) / promised
        # A step that overshoots in the model itself promises nothing, whatever the sign of the ratio.
        trusted, doubted = (ratio > _TRUSTED) & (promised > 0), ~((ratio >= _DOUBTED) & (promised > 0))
        multiple = jnp.where(trusted, 1 / self.factor, jnp.where(doubted, self.factor, 1.0))
        scale = jnp.clip(damping.scale * multiple.astype(damping.scale.dtype), *self.limits)
        return Damping(scale, ratio.astype(damping.ratio.dtype))
