"""How a solver sees a state: with the energy dissipated so far behind it, as one vector or leaf by leaf.

XLA runs a small vector as one kernel and a dict of scalars as many: packed flat, a single planar run takes half the
time. In a batch it is the other way round: there every leaf is a long array already, and a vector per member would be
copied in and out of strided memory.
"""

import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._tree import is_float_array


class Layout(NamedTuple):
    """Structure, shapes and dtypes of a state: hashable, so that it is part of a program's key."""

    structure: Any
    shapes: tuple[tuple[int, ...] | None, ...]
    dtypes: tuple[Any, ...]
    edges: tuple[int, ...]
    narrowest: np.dtype
    widest: np.dtype
    ledger: bool

    @classmethod
    def of(cls, leaves: list, structure: Any, ledger: bool, members: bool) -> "Layout":
        """The layout of a state's leaves; with `members` they have a leading axis, which is not the state's."""
        dtypes = tuple(leaf.dtype if is_float_array(leaf) else None for leaf in leaves)
        pairs = zip(leaves, dtypes, strict=True)
        shapes = tuple(None if dtype is None else leaf.shape[members:] for leaf, dtype in pairs)
        sizes = (0 if shape is None else math.prod(shape) for shape in shapes)
        edges = tuple(itertools.accumulate(sizes, initial=0))
        by_size = sorted((dtype for dtype in dtypes if dtype is not None), key=lambda dtype: dtype.itemsize)
        return cls(structure, shapes, dtypes, edges, by_size[0], by_size[-1], ledger)

    @property
    def size(self) -> int:
        """How many numbers the state has."""
        return self.edges[-1]

    def tree(self, floats: list, rest: tuple) -> PyTree:
        """A state from its float leaves, in their own precision, and the rest of its leaves."""
        given = iter(floats)
        leaves = [
            (rest[index] if rest else None) if dtype is None else next(given).astype(dtype, copy=False)
            for index, dtype in enumerate(self.dtypes)
        ]
        return jax.tree.unflatten(self.structure, leaves)

    def numbers(self, tree: PyTree, argument: str) -> np.ndarray:
        """A tree of numbers like the state as one vector."""
        leaves, structure = jax.tree.flatten(tree)
        shapes = [shape for shape in self.shapes if shape is not None]
        if len(leaves) != len(shapes) or (structure != self.structure and len(shapes) == len(self.shapes)):
            raise ValueError(f"`{argument}` must be a number or a tree like the state, got {structure}.")
        try:
            pairs = zip(leaves, shapes, strict=True)
            return np.concatenate([np.broadcast_to(np.asarray(leaf, float), shape).ravel() for leaf, shape in pairs])
        except ValueError as error:
            raise ValueError(f"`{argument}` must have the state's shapes {shapes}, or numbers: {error}.") from error


class FlatPacking(NamedTuple):
    """One vector: all float leaves, then the energy dissipated."""

    layout: Layout

    def pack(self, leaves: list, xp: Any = jnp) -> Any:
        """The vector of a state's leaves, nothing dissipated yet; `xp` is `numpy` for concrete states."""
        dtype = self.layout.widest
        parts = [xp.ravel(leaf).astype(dtype) for leaf in leaves if is_float_array(leaf)]
        return xp.concatenate([*parts, xp.zeros(int(self.layout.ledger), dtype)])

    def join(self, velocity: PyTree, lost: Any) -> Any:
        parts = [jnp.ravel(leaf).astype(self.layout.widest) for leaf in jax.tree.leaves(velocity)]
        parts += [jnp.reshape(lost, 1).astype(self.layout.widest)] if self.layout.ledger else []
        return jnp.concatenate(parts)

    def state_part(self, vector: Any) -> Any:
        return vector[: self.layout.size]

    def state(self, vector: Any, rest: tuple = ()) -> PyTree:
        """The state of a vector, or of an array of vectors along leading axes."""
        layout, lead = self.layout, vector.shape[:-1]
        spans = zip(layout.edges, layout.edges[1:], layout.shapes, strict=False)
        return layout.tree([vector[..., a:b].reshape(lead + s) for a, b, s in spans if s is not None], rest)

    def dissipated(self, vector: Any) -> Any:
        return vector[..., self.layout.size] if self.layout.ledger else None

    def tolerance(self, atol: Any) -> Any:
        """An absolute tolerance for the whole vector: the energy has the largest of the state's."""
        return jnp.append(atol, jnp.max(atol)) if jnp.ndim(atol) and self.layout.ledger else atol


class LeafPacking(NamedTuple):
    """A list: every float leaf as it is, then the energy dissipated."""

    layout: Layout

    def pack(self, leaves: list, xp: Any = jnp) -> Any:
        """The list of a state's leaves, nothing dissipated yet; `xp` is `numpy` for concrete states."""
        spent = [xp.zeros((), self.layout.widest)] if self.layout.ledger else []
        return [leaf for leaf in leaves if is_float_array(leaf)] + spent

    def join(self, velocity: PyTree, lost: Any) -> Any:
        return jax.tree.leaves(velocity) + ([lost.astype(self.layout.widest)] if self.layout.ledger else [])

    def state_part(self, vector: Any) -> Any:
        return vector[:-1] if self.layout.ledger else vector

    def state(self, vector: Any, rest: tuple = ()) -> PyTree:
        """The state of a list, or of lists of arrays with leading axes."""
        return self.layout.tree(self.state_part(vector), rest)

    def dissipated(self, vector: Any) -> Any:
        return vector[-1] if self.layout.ledger else None

    def tolerance(self, atol: Any) -> Any:
        return atol


Packing = FlatPacking | LeafPacking


class StatePart(NamedTuple):
    """What a norm sees: the state without its energy; as a bound method it would be a new program at every call."""

    packing: Packing

    def __call__(self, vector: Any) -> Any:
        return self.packing.state_part(vector)
