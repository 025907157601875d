"""Which elements each leaf of the state goes through."""

from typing import Any, NamedTuple

import jax
import optax

from ..._tree import floats, label_of
from ..._typing import State
from .nodes import Chain, Element, Masked, Node, Partition, elements, has_groups, place

Route = tuple[Element, ...]


class Routes(NamedTuple):
    """The elements for each leaf, in the order of `jax.tree.leaves`; a single one serves all leaves of any state.

    Attributes:
        routes: one for each leaf, or one for all.
        structure: that of the state's float leaves; `None` where one route serves all.
    """

    routes: tuple[Route, ...]
    structure: Any

    @property
    def labels(self) -> tuple[str, ...]:
        """Where each route's leaf is, for an error."""
        if self.structure is None:
            return ("",)
        tree = jax.tree.unflatten(self.structure, range(len(self.routes)))
        return tuple(f" at '{label_of(path)}'" for path, _ in jax.tree.leaves_with_path(tree))


def routes_of(node: Node, like: State | None) -> Routes:
    """The routes through an optimizer.

    Args:
        node: the optimizer.
        like: a state, needed where there are groups.

    Raises:
        ValueError: if it has groups and `like` is missing, or their labels or masks do not fit it.
    """
    if not has_groups(node):
        return Routes((tuple(element for element in elements(node) if isinstance(element, Element)),), None)
    if like is None:
        raise ValueError(
            f"`like` must be given, a state: {place(_groups_at(node))} treats groups of leaves differently, and which "
            "leaf is in which is known for a state only."
        )
    leaves = floats(like)
    structure = jax.tree.structure(leaves)
    numbers = jax.tree.unflatten(structure, range(structure.num_leaves))
    found: list[list[Element]] = [[] for _ in range(structure.num_leaves)]
    _walk(node, leaves, numbers, found)
    return Routes(tuple(map(tuple, found)), structure)


def _walk(node: Node, leaves: Any, numbers: Any, found: list[list[Element]]) -> None:
    """As optax goes: functions of the parameters see the tree with `optax.MaskedNode()` where others are."""
    match node:
        case Element():
            for number in jax.tree.leaves(numbers):
                found[number].append(node)
        case Chain(nodes):
            for inner in nodes:
                _walk(inner, leaves, numbers, found)
        case Masked(position, inner, mask):
            marks = jax.tree.leaves(mask)
            mask = mask(leaves) if marks and all(map(callable, marks)) else mask
            _walk(inner, _kept(mask, leaves, position), _kept(mask, numbers, position), found)
        case Partition(position, groups, labels):
            labels = labels(leaves) if callable(labels) else labels
            missing = {label for label in jax.tree.leaves(labels) if label not in groups}
            if missing:
                raise ValueError(
                    f"{place(position)} has the groups {sorted(map(repr, groups))}, but `like` has leaves with the "
                    f"label {', '.join(sorted(map(repr, missing)))}."
                )
            for label, inner in groups.items():
                mask = jax.tree.map(lambda own, label=label: own == label, labels)
                _walk(inner, _kept(mask, leaves, position), _kept(mask, numbers, position), found)


def _kept(mask: Any, tree: Any, position: tuple) -> Any:
    try:
        return jax.tree.map(lambda keep, part: part if keep else optax.MaskedNode(), mask, tree)
    except ValueError as error:
        raise ValueError(
            f"{place(position)} has a mask or labels that do not fit `like`, whose float leaves are "
            f"{jax.tree.structure(tree)}: {error}"
        ) from error


def _groups_at(node: Node) -> tuple:
    if isinstance(node, Chain):
        return next(_groups_at(inner) for inner in node.nodes if has_groups(inner))
    return node.position if isinstance(node, Masked | Partition) else ()
