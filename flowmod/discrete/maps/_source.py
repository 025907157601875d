"""What an optimizer was made from, if it knows."""

from typing import NamedTuple

import optax

from ..._typing import Potential
from ...flow import GradientFlow
from ..methods import Discretization
from ..minibatches import Minibatch


class Source(NamedTuple):
    """What an optimizer was made from; `None` where it does not say.

    Attributes:
        potential: its loss.
        discretization: the discretised flow that makes its steps.
    """

    potential: Potential | None
    discretization: Discretization | None


def source_of(made: optax.GradientTransformation) -> Source:
    """The flow behind a discretised one, the problem behind one on minibatches."""
    if isinstance(made, Minibatch):
        return source_of(made.optimizer)._replace(potential=made.problem)
    if isinstance(made, Discretization) and isinstance(made.flow, GradientFlow):
        return Source(made.flow.potential, made)
    return Source(None, None)
