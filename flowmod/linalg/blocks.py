"""The blocks of a block-diagonal operator: one for each sub-module of a state that owns float arrays."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import GetAttrKey
from jaxtyping import Array, Float, PyTree

from .._tree import floats, label_of

Part = tuple[Float[Array, "..."], ...]
"""A vector over one block, by leaf."""

Parts = tuple[Part, ...]
"""A vector by block and leaf."""


class Blocks(NamedTuple):
    """Which float leaves of a tree belong together; hashable.

    Attributes:
        names: the path of each owner, as in `layers.0`.
        leaves: for each block the numbers of its leaves in the order of flattening.
    """

    names: tuple[str, ...]
    leaves: tuple[tuple[int, ...], ...]

    def split(self, tree: PyTree) -> Parts:
        """The float leaves of `tree` by block."""
        return self.split_leaves(jax.tree.leaves(floats(tree)))

    def split_leaves(self, leaves: list) -> tuple[tuple[Any, ...], ...]:
        """What there is for each float leaf, by block."""
        return tuple(tuple(leaves[index] for index in block) for block in self.leaves)

    def places(self, tree: PyTree) -> list[np.ndarray]:
        """For each block where its numbers stand in the raveled tree."""
        sizes = [leaf.size for leaf in jax.tree.leaves(floats(tree))]
        spans = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
        return [np.concatenate([spans[index] for index in block]) for block in self.leaves]

    def join(self, parts: Parts, like: PyTree) -> PyTree:
        """The tree of the float leaves of `like` that has these parts."""
        leaves: list = [None] * sum(map(len, self.leaves))
        for block, part in zip(self.leaves, parts, strict=True):
            for index, leaf in zip(block, part, strict=True):
                leaves[index] = leaf
        return jax.tree.unflatten(jax.tree.structure(floats(like)), leaves)


def blocks_of(leaves: PyTree) -> Blocks:
    """One block for each sub-module that owns leaves, in the order of flattening.

    An array inside a list, tuple or dict belongs to the module that has the container as its field.

    Args:
        leaves: the float leaves of a state, or their shapes.
    """
    owners: dict[str, list[int]] = {}
    for index, (path, _) in enumerate(jax.tree.leaves_with_path(leaves)):
        fields = [place for place, key in enumerate(path) if isinstance(key, GetAttrKey)]
        owner = label_of(path[: fields[-1]] if fields else ())
        owners.setdefault(owner, []).append(index)
    return Blocks(tuple(owners), tuple(map(tuple, owners.values())))
