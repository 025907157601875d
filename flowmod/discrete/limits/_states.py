"""The states of a trajectory, one after the other."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ..._tree import combine, floats
from ..._typing import State
from ...simulate import Trajectory


def states_of(trajectory: Trajectory) -> Iterator[tuple[Any, State]]:
    """Time and state at each time, the leaves that don't move included."""
    leaves = floats(trajectory.ys)
    for k, t in enumerate(trajectory.ts):
        yield t, combine(jax.tree.map(lambda leaf, k=k: np.asarray(leaf)[k], leaves), trajectory.ys)
