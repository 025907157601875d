"""What each leaf of the state goes through in the limit: from its gradient to its velocity."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import floats
from ..._typing import Args, Covector, Potential, State, Vector
from ...metric import value_and_covector
from .clock import Moving, value, vanishes
from .operations import Add, Average, Averages, Multiply, Normalise, Operation


class Line(eqx.Module):
    """The way of one leaf: `decay` times the leaf is added to its gradient, then come the operations.

    Attributes:
        decay: weight decay that comes first, and is the potential's own: `f + decay |y|^2 / 2`.
        operations: in their order; the last one multiplies.
        driven: whether the gradient has a say: a leaf that is frozen, or only decays, has none.
    """

    decay: np.floating[Any]
    operations: tuple[Operation, ...]
    driven: bool = eqx.field(static=True)

    def start(self, y: Any) -> tuple[Averages, ...]:
        return tuple(operation.start(y) for operation in self.operations)

    def velocity(self, t: Any, covector: Any, y: Any, averages: tuple[Averages, ...]) -> tuple[Any, tuple]:
        """The velocity of the leaf and those of its averages, from the gradient with the first decay."""
        x, rates = covector, []
        for operation, own in zip(self.operations, averages, strict=True):
            x, moved = operation(t, x, y, own)
            rates.append(moved)
        return x, tuple(rates)

    def weight(self, t: Any, covector: Any) -> Any:
        """What the gradient is divided by to give minus the velocity, if all averages have settled and none decays."""
        if not self.driven:
            return jnp.ones_like(covector)
        x, weight = covector, -jnp.ones_like(covector)
        for operation in self.operations:
            if isinstance(operation, Multiply):
                by = value(operation.by, t, x.dtype)
                x, weight = by * x, weight / by
            elif isinstance(operation, Normalise):
                divisor = operation.weight(x)
                x, weight = x / divisor, weight * divisor
        return weight

    @property
    def is_plain(self) -> bool:
        """Whether the velocity is minus the gradient."""
        return [type(operation) for operation in self.operations] == [Multiply] and _number(self.operations[0]) == -1

    @property
    def follows_gradient(self) -> bool:
        """Whether the velocity is the gradient over a weight: no decay after the first."""
        return self.driven and not any(isinstance(operation, Add) for operation in self.operations)

    @property
    def stops(self) -> bool:
        """Whether it stands still at some time, where a learning rate is zero: no weight is infinite."""
        return any(isinstance(operation, Multiply) and vanishes(operation.by) for operation in self.operations)

    @property
    def remembers(self) -> bool:
        return any(
            isinstance(operation, Average)
            or (isinstance(operation, Normalise) and not (operation.first is None and operation.second is None))
            for operation in self.operations
        )

    @property
    def inertia(self) -> tuple[float, float] | None:
        """Mass and friction, `mass y'' + friction y' = -gradient`, where the line is one plain average."""
        match self.operations:
            case (Average(speed=np.floating() as speed, elapsed=None), Multiply(by=np.floating() as by)) if by < 0:
                return float(-1 / (speed * by)), float(-1 / by)
        return None


class Lines(eqx.Module):
    """The lines of all leaves, or a single one for all, with the potential that they descend.

    Attributes:
        potential: `f(y, args)`.
        lines: one for each float leaf, in the order of `jax.tree.leaves`, or one for all.
        structure: that of the state's float leaves; `None` where one line serves all.
    """

    potential: Potential
    lines: tuple[Line, ...]
    structure: Any = eqx.field(static=True)

    def for_leaves(self, leaves: list) -> list[tuple[Line, Any]]:
        """Each leaf with its line."""
        return list(zip(self.lines * len(leaves) if self.structure is None else self.lines, leaves, strict=True))

    def leaves(self, y: State) -> tuple[list, Any]:
        """The float leaves of a state that has those that the lines are for.

        Raises:
            ValueError: if it has others.
        """
        leaves, structure = jax.tree.flatten(floats(y))
        if self.structure is not None and structure != self.structure:
            raise ValueError(
                f"The state must be a tree like the one that `fm.flow_of` was given as `like`, {self.structure}, "
                f"because the optimizer has groups of leaves; got {structure}."
            )
        return leaves, structure

    @property
    def moves(self) -> bool:
        """Whether any number changes with time."""
        nodes = jax.tree.leaves(self.lines, is_leaf=lambda node: isinstance(node, Moving))
        return any(isinstance(node, Moving) for node in nodes)

    def start(self, y: State) -> tuple:
        """The averages at the start, by leaf and operation."""
        return tuple(line.start(leaf) for line, leaf in self.for_leaves(self.leaves(y)[0]))

    def velocity(self, t: Any, y: State, averages: tuple, args: Args) -> tuple[Vector, tuple]:
        """The velocity of the state and those of its averages."""
        leaves, structure = self.leaves(y)
        gradient = jax.tree.leaves(self.covector(y, args))
        ways = zip(self.for_leaves(leaves), gradient, averages, strict=True)
        found = [line.velocity(t, g, leaf, own) for (line, leaf), g, own in ways]
        return jax.tree.unflatten(structure, [velocity for velocity, _ in found]), tuple(moved for _, moved in found)

    def weights(self, t: Any, y: State, args: Args) -> Covector:
        """The diagonal of the metric in which the flow descends the potential."""
        structure = self.leaves(y)[1]
        gradient = jax.tree.leaves(self.covector(y, args))
        return jax.tree.unflatten(structure, [line.weight(t, g) for line, g in self.for_leaves(gradient)])

    def covector(self, y: State, args: Args) -> Covector:
        return value_and_covector(self.potential, y, args)[1]

    def spread(self, numbers: Any, y: State) -> Vector:
        """A number for each line, as a tree like the state."""
        leaves, structure = self.leaves(y)
        each = numbers * len(leaves) if self.structure is None else numbers
        return jax.tree.unflatten(structure, [jnp.full_like(leaf, one) for leaf, one in zip(leaves, each, strict=True)])


def _number(operation: Operation) -> Any:
    return operation.by if isinstance(operation, Multiply) and isinstance(operation.by, np.floating) else None
