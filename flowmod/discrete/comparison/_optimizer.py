"""A user's optimizer: made for a step size, and named where it fails."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from ..._typing import Covector, Vector
from ...flow import AbstractFlow
from .._family import arrays, like, made_by, named
from ..methods import Discretization
from ._reference import Reference


class Optimizer(NamedTuple):
    """A name, and a function from a step size, or from it and a flow, to an optax transformation."""

    name: str
    make: Callable[..., Any]

    @property
    def takes_flow(self) -> bool:
        """Whether the function has two arguments that must be given."""
        try:
            parameters = inspect.signature(self.make).parameters.values()
        except (TypeError, ValueError):  # a builtin without a signature
            return False
        places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return sum(each.kind in places and each.default is each.empty for each in parameters) == 2

    def at(self, step_size: Any, flow: AbstractFlow) -> optax.GradientTransformationExtraArgs:
        """The transformation of this step size."""
        numbers = (step_size, flow) if self.takes_flow else (step_size,)
        return optax.with_extra_args_support(made_by(self._argument, self.make, *numbers))

    def init(self, transformation: optax.GradientTransformation, leaves: Vector) -> Any:
        """The state at the start, every number in it an array."""
        with named(self._argument):
            return arrays(transformation.init(leaves))

    def update(
        self, transformation: Any, gradient: Covector, state: Any, leaves: Vector, loss: Any, reference: Reference
    ) -> tuple:
        """The updates like the leaves, and the next state like the last one: a loop's types must not change."""
        extra: dict[str, Any] = {"static": reference.static}
        if not isinstance(transformation, Discretization):  # which knows its loss, and a faster way to its gradients
            # What line searches ask for; the others take no notice.
            extra |= {"value": loss, "grad": gradient, "value_fn": reference.loss_at}
        with named(self._argument):
            updates, after = transformation.update(gradient, state, leaves, **extra)
            return like(updates, leaves), like(arrays(after), state)

    @property
    def _argument(self) -> str:
        return f"optimizers[{self.name!r}]"
