"""The tree of an optimizer: parts in chains, for all leaves of the state or for groups of them."""

from collections.abc import Hashable
from typing import Any, NamedTuple

from ...flow import AbstractFlow
from .parts import Part
from .rate import Rate

Position = tuple[Hashable, ...]
"""Indices and names that lead through nested chains and groups to an element."""


class Element(NamedTuple):
    """A part with its place and its name, and the dtype in which the optimizer keeps what it remembers."""

    position: Position
    name: str
    part: Part
    precision: Any

    def __str__(self) -> str:
        return f"{place(self.position)} ({self.name})"


class Discretized(NamedTuple):
    """An integrator's step of a flow, as `fm.discretize` makes it.

    Attributes:
        position: its place.
        name: its name.
        flow: the flow.
        duration: the time of one step: the step size, times `1 / (1 - momentum)` where a gradient flow has some.
    """

    position: Position
    name: str
    flow: AbstractFlow
    duration: Rate

    def __str__(self) -> str:
        return f"{place(self.position)} ({self.name})"


class Chain(NamedTuple):
    """One after the other."""

    nodes: tuple["Node", ...]


class Masked(NamedTuple):
    """For the leaves where `mask` is true; the others pass."""

    position: Position
    inner: "Node"
    mask: Any


class Partition(NamedTuple):
    """To every leaf its own, by its label."""

    position: Position
    groups: dict[Hashable, "Node"]
    labels: Any


Node = Element | Discretized | Chain | Masked | Partition


def place(position: Position) -> str:
    """How one would write it: `optimizer[0]['bias']`."""
    return "`optimizer" + "".join(f"[{key!r}]" for key in position) + "`"


def elements(node: Node) -> list[Element | Discretized]:
    """All elements, in their order."""
    match node:
        case Element() | Discretized():
            return [node]
        case Chain(nodes):
            return [element for inner in nodes for element in elements(inner)]
        case Masked(inner=inner):
            return elements(inner)
        case Partition(groups=groups):
            return [element for inner in groups.values() for element in elements(inner)]


def has_groups(node: Node) -> bool:
    """Whether leaves may differ in what they go through."""
    return isinstance(node, Masked | Partition) or (isinstance(node, Chain) and any(map(has_groups, node.nodes)))
