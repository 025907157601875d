"""Where the runs begin."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..._tree import as_state, combine, floats, is_float_array, label_of, size
from ..._typing import State, Vector


class Starts(NamedTuple):
    """One start or several.

    Attributes:
        tree: as the user has them, the float leaves as JAX arrays.
        alone: whether it is one, without a leading axis.
    """

    tree: State
    alone: bool

    @property
    def leaves(self) -> Vector:
        """The float leaves, with a leading axis (starts,)."""
        leaves = floats(self.tree)
        return jax.tree.map(lambda leaf: leaf[None], leaves) if self.alone else leaves

    @property
    def static(self) -> PyTree:
        """The leaves that do not move, the same for all."""
        return eqx.filter(self.tree, is_float_array, inverse=True)

    @property
    def example(self) -> State:
        """The first start."""
        return combine(jax.tree.map(lambda leaf: leaf[0], self.leaves), self.tree)

    @property
    def size(self) -> int:
        """How many numbers a state holds."""
        return size(self.tree) // len(self)

    def __len__(self) -> int:
        return len(jax.tree.leaves(self.leaves)[0])


def check_starts(y0: Any, several: Any) -> Starts:
    """One start, or several along the first axis of every float leaf."""
    if not isinstance(several, bool):
        raise ValueError(
            f"`starts` must be True, if `y0` holds several along a leading axis, or False, got {several!r}."
        )
    y0 = as_state("y0", y0)
    if not size(y0):
        raise ValueError(f"`y0` must hold at least one float array with an entry, got {y0!r}.")
    y0 = combine(jax.tree.map(jnp.asarray, floats(y0)), y0)
    labelled = [(label_of(path) or "y", leaf) for path, leaf in jax.tree.leaves_with_path(floats(y0))]
    lengths = {name: leaf.shape[:1] for name, leaf in labelled}
    if several and (len(set(lengths.values())) != 1 or () in lengths.values()):
        raise ValueError(
            "`y0` must have with `starts=True` a leading axis of one length on every float leaf, an entry for each "
            f"start; got leading axes {lengths}."
        )
    for name, leaf in labelled:
        entries = np.isfinite(np.asarray(leaf)).reshape(len(leaf) if several else 1, -1).all(axis=1)
        if not entries.all():
            where = f" of start {entries.argmin()}" if several else ""
            raise ValueError(f"`y0` must be finite, got a number in '{name}'{where} that is not: leave that start out.")
    return Starts(y0, not several)
