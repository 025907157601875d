"""The modules that a state is made of."""

import jax

from .._tree import floats, label_of
from .._typing import State
from ..linalg import Blocks, blocks_of
from .module import AbstractModule


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
