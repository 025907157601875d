"""Arrays that a potential and a metric have in common are kept once.

A compiled program gets each array of a flow as an argument of its own. Kept twice, the data of a problem would be two
arrays there, and nothing could tell that they are one; kept once, `steepest_descent` sees that both use the same.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree


@dataclasses.dataclass(frozen=True)
class _Place:
    """Stands where an array was: the number of the potential's leaf that it is."""

    leaf: int


def without_shared(tree: PyTree, owner: PyTree) -> PyTree:
    """`tree` with a mark in the place of each array that is also a leaf of `owner`."""
    places = {id(leaf): index for index, leaf in enumerate(jax.tree.leaves(owner)) if eqx.is_array(leaf)}

    def mark(leaf: Any) -> Any:
        return _Place(places[id(leaf)]) if id(leaf) in places and eqx.is_array(leaf) else leaf

    return jax.tree.map(mark, tree) if places else tree


def with_shared(tree: PyTree, owner: PyTree) -> PyTree:
    """The inverse of `without_shared`."""
    leaves = jax.tree.leaves(tree)
    if not any(isinstance(leaf, _Place) for leaf in leaves):
        return tree
    owned = jax.tree.leaves(owner)
    return jax.tree.map(lambda leaf: owned[leaf.leaf] if isinstance(leaf, _Place) else leaf, tree)
