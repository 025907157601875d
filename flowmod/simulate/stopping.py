"""Conditions to stop at."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from .._typing import Args, State
from ..flow import AbstractFlow
from ..metric import Euclidean


class AtEquilibrium(eqx.Module):
    """Stop where the flow stands still: `simulate(flow, y0, t1, until=fm.AtEquilibrium(flow))`.

    The test is `|y'|_M <= tolerance`: the length of the velocity in the flow's metric, which for a gradient flow is
    the dual norm of the gradient. One large, constant number of the state does not hide that the others still move.

    Args:
        flow: the flow.
        tolerance: in the unit of `sqrt([potential] / time)`, or [state]/time without a metric.
    """

    flow: AbstractFlow
    tolerance: float = 1e-6

    def __check_init__(self):
        if not (isinstance(self.tolerance, float | int) and self.tolerance > 0):
            raise ValueError(f"`tolerance` must be positive, got {self.tolerance}.")

    def __call__(self, t: Any, y: State, args: Args):
        velocity = self.flow.vector_field(t, y, args)
        place, moved = self.flow.position(y), self.flow.position(velocity)
        metric = Euclidean() if self.flow.metric is None else self.flow.metric.at(t)
        return jnp.asarray(metric.norm(place, moved, args) <= self.tolerance)
