"""The modules that a state is made of, and what is common to all numbers of them."""

import jax
import numpy as np
from jaxtyping import Int

from ..._tree import floats, label_of, size
from ..._typing import State
from ...linalg import Blocks, blocks_of
from ...module import AbstractModule


def modules_of(y: State) -> Blocks:
    """One block for each layer of a module of flowmod, as its layerwise metric has them; else for each child of a tree.

    A bare array is one module, `"state"`.
    """
    like = floats(y)
    if isinstance(y, AbstractModule):
        return blocks_of(like)
    owners: dict[str, list[int]] = {}
    for index, (path, _) in enumerate(jax.tree.leaves_with_path(like)):
        owners.setdefault(label_of(path[:1]) or "state", []).append(index)
    return Blocks(tuple(owners), tuple(map(tuple, owners.values())))


def owner_of_each(blocks: Blocks, y: State) -> Int[np.ndarray, " n"]:
    """For each number of a state, in `ravel_pytree` order, the index of its module."""
    owner = np.empty(size(y), dtype=np.int32)
    for index, place in enumerate(blocks.places(y)):
        owner[place] = index
    return owner
