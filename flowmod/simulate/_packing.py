"""The state as one vector, with the energy ledger behind it, and back.

XLA runs a small vector as one kernel and a dict of scalars as many: packed, a planar system takes half the time. The
last entry of the vector is the energy dissipated so far, if the flow has an energy to balance.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._tree import is_float_array


class Packing(NamedTuple):
    """How a state is laid out in a vector of `size` numbers: hashable, so that it is part of a program's key."""

    structure: Any
    shapes: tuple[tuple[int, ...] | None, ...]
    dtypes: tuple[Any, ...]
    edges: tuple[int, ...]
    ledger: bool

    @property
    def size(self) -> int:
        return self.edges[-1]

    @classmethod
    def of(cls, leaves: list, structure: Any, ledger: bool) -> "Packing":
        shapes = tuple(leaf.shape if is_float_array(leaf) else None for leaf in leaves)
        dtypes = tuple(leaf.dtype if is_float_array(leaf) else None for leaf in leaves)
        sizes = [0 if shape is None else int(np.prod(shape, dtype=int)) for shape in shapes]
        return cls(structure, shapes, dtypes, (0, *np.cumsum(sizes).tolist()), ledger)

    def pack(self, leaves: list, xp: Any = jnp) -> Any:
        """The vector of a state's leaves, nothing dissipated yet; `xp` is `numpy` for concrete states."""
        parts = [xp.ravel(leaf) for leaf in leaves if is_float_array(leaf)]
        dtype = np.result_type(*(part.dtype for part in parts))
        parts = [part.astype(dtype) for part in parts] + ([xp.zeros(1, dtype)] if self.ledger else [])
        return xp.concatenate(parts)

    def vector_like(self, tree: PyTree, argument: str) -> Any:
        """A tree of numbers like the state as one vector, without the ledger."""
        leaves, structure = jax.tree.flatten(tree)
        shapes = [shape for shape in self.shapes if shape is not None]
        if len(leaves) != len(shapes) or (structure != self.structure and len(shapes) == len(self.shapes)):
            raise ValueError(f"`{argument}` must be a number or a tree like the state, got {structure}.")
        pairs = zip(leaves, shapes, strict=True)
        return np.concatenate([np.broadcast_to(np.asarray(leaf, float), shape).ravel() for leaf, shape in pairs])

    def state(self, vector: Any, rest: tuple = ()) -> PyTree:
        """The state of a vector, or of an array of vectors along leading axes, with the `rest` of its leaves."""
        leaves, lead = [], vector.shape[:-1]
        bounds = zip(self.edges, self.edges[1:], strict=False)
        for index, ((first, last), shape, dtype) in enumerate(zip(bounds, self.shapes, self.dtypes, strict=True)):
            if shape is None:
                leaves.append(rest[index] if rest else None)
            else:
                leaves.append(vector[..., first:last].reshape(lead + shape).astype(dtype, copy=False))
        return jax.tree.unflatten(self.structure, leaves)

    def dissipated(self, vector: Any) -> Any:
        return vector[..., self.size] if self.ledger else None
