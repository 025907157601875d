"""Conditions to stop at."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from .._tree import is_traced
from .._typing import Args, State
from ..flow import AbstractFlow
from ._checks import require_number
from ._lengths import lengths, require_by


class AtEquilibrium(eqx.Module):
    """Stop where the flow stands still: `simulate(flow, y0, t1, until=fm.AtEquilibrium(flow))`.

    The test is `|y'|_M <= tolerance`: the length of the velocity in the flow's metric, which for a gradient flow is
    the dual norm of the gradient. One large, constant number of the state does not hide that the others still move. Of
    a second-order flow velocity and acceleration must both be so short: it does not stop where it turns.

    A flow is also slow where it passes a saddle. With a `window` it is not stopped at the end of the first step where
    the test holds, but once the test has held at the end of every step for so long: a passage takes the time
    `log(d_out / d_in) / rate` of the direction that leaves.

    Args:
        flow: the flow.
        tolerance: in the unit of `sqrt([potential] / time)`, or [state]/time without a metric.
        window: how long it must have stood still, a time; by default the first time is enough.
        by: `"state"`; or `"module"` or `"leaf"`, the test for each of these by itself: see `fm.MetricController`.

    Raises:
        ValueError: if `tolerance` or `window` is not positive, or `by` is none of these.
    """

    flow: AbstractFlow
    tolerance: float = 1e-6
    window: float | None = None
    by: str = eqx.field(static=True, default="state")

    def __check_init__(self):
        require_by(self.by)
        given = {"tolerance": self.tolerance} | ({} if self.window is None else {"window": self.window})
        for name, number in given.items():
            if not is_traced(number) and not 0 < require_number(name, number) < math.inf:
                raise ValueError(f"`{name}` must be positive, got {number}.")

    def __call__(self, t: Any, y: State, args: Args):
        """Whether the flow stands still at this state."""
        velocity = self.flow.vector_field(t, y, args)
        return jnp.all(lengths(self.flow, self.by, t, y, [velocity], args) <= self.tolerance)
