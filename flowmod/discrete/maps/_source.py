"""What an optimizer was made from, if it knows."""

from typing import Any, NamedTuple

import optax

from ..._typing import Args, Potential
from ...flow import GradientFlow
from ..methods import Discretization
from ..minibatches import Minibatch


class Source(NamedTuple):
    """What an optimizer was made from; `None` where it does not say.

    Attributes:
        potential: its loss.
        flow: the gradient flow that it discretises.
        method: how.
        momentum: of the method.
        args: what the flow is handed.
    """

    potential: Potential | None
    flow: GradientFlow | None
    method: str
    momentum: Any
    args: Args


def source_of(made: optax.GradientTransformation) -> Source:
    """The flow behind a discretised one, the problem behind one on minibatches."""
    if isinstance(made, Minibatch):
        return source_of(made.optimizer)._replace(potential=made.problem)
    if isinstance(made, Discretization) and isinstance(made.flow, GradientFlow):
        return Source(made.flow.potential, made.flow, made.method, made.momentum, made.args)
    return Source(None, None, "", None, None)
