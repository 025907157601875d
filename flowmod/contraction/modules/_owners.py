"""Which module each number of a state belongs to."""

import numpy as np
from jaxtyping import Int

from ..._tree import size
from ..._typing import State
from ...linalg import Blocks


def owner_of_each(blocks: Blocks, y: State) -> Int[np.ndarray, " n"]:
    """For each number of a state, in `ravel_pytree` order, the index of its module."""
    owner = np.empty(size(y), dtype=np.int32)
    for index, place in enumerate(blocks.places(y)):
        owner[place] = index
    return owner
