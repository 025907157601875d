"""The step limit of an optimizer whose step is known to be a flow's."""

from typing import NamedTuple

from .._typing import Args
from ..flow import AbstractFlow, GradientFlow
from .limits import bears
from .methods import Discretization


class Scheme(NamedTuple):
    """A flow, and how large `h lambda` may be for the eigenvalues of its `M^-1 H`, where `h` is the step size."""

    flow: AbstractFlow
    args: Args
    largest: float


def scheme_of(made: Discretization, step_size: float) -> Scheme | None:
    """The scheme of what was made from a step size; `None` if there is no single limit: a schedule, or inertia.

    Its own step may be a multiple of the step size, as one that counts momentum in.
    """
    if not isinstance(made.flow, GradientFlow) or callable(made.step_size):
        return None
    factor = float(made.step_size) / float(step_size)
    return Scheme(made.flow, made.args, bears(made.method, made.momentum) / factor)
