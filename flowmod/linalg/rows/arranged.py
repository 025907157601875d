"""A factor over leaves that are stored in another order, shape or precision than it has them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..blocks import Part
from .base import AbstractRows

Step = tuple[str, tuple[int, ...]]
"""`("transpose", axes)` or `("reshape", shape)`."""


class Layout(NamedTuple):
    """How a leaf is stored; hashable.

    Attributes:
        source: which leaf of the factor it is.
        shape: the shape in which it is stored.
        dtype: and its dtype, by name.
        steps: what makes the factor's leaf of it.
    """

    source: int
    shape: tuple[int, ...]
    dtype: str
    steps: tuple[Step, ...] = ()

    def read(self, leaf: Any) -> Any:
        """The factor's leaf of a stored one."""
        for kind, argument in self.steps:
            leaf = leaf.transpose(argument) if kind == "transpose" else leaf.reshape(argument)
        return leaf

    def write(self, leaf: Any) -> Any:
        """The stored leaf of a factor's one."""
        shapes = [self.shape]
        for kind, argument in self.steps:
            shapes.append(tuple(shapes[-1][axis] for axis in argument) if kind == "transpose" else argument)
        for (kind, argument), shape in zip(reversed(self.steps), reversed(shapes[:-1]), strict=True):
            leaf = leaf.transpose(np.argsort(argument)) if kind == "transpose" else leaf.reshape(shape)
        return leaf

    def read_mass(self, mass: Array) -> Array:
        """A mass of the stored leaf as one of the factor's: what is the same along an axis stays so."""
        if jnp.ndim(mass) == 0:
            return mass
        if mass.size == np.prod(self.shape):
            return self.read(mass)
        places = self.read(np.broadcast_to(np.arange(mass.size).reshape(mass.shape), self.shape))
        for axis in range(places.ndim):
            first = places.take([0], axis)
            places = first if np.array_equal(np.broadcast_to(first, places.shape), places) else places
        return mass.ravel()[places]


class ArrangedRows(AbstractRows):
    """The rows of a factor for leaves that are stored otherwise: permuted, transposed, reshaped or in less precision.

    Attributes:
        rows: the factor.
        layouts: how each leaf of the block is stored, in the order of the block.
        dtype: that of the factor, by name.
    """

    rows: AbstractRows
    layouts: tuple[Layout, ...] = eqx.field(static=True)
    dtype: str = eqx.field(static=True)

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.rows.row_shape

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(layout.shape for layout in self.layouts)

    def mv(self, vector: Part) -> Float[Array, "N C"]:
        return self.rows.mv(self._read(vector, Layout.read))

    def rmv(self, rows: Float[Array, "N C"]) -> Part:
        back = self.rows.rmv(rows)
        return tuple(layout.write(back[layout.source]).astype(layout.dtype) for layout in self.layouts)

    def scaled(self, weights: Float[Array, "N C"]) -> "ArrangedRows":
        return ArrangedRows(self.rows.scaled(weights), self.layouts, self.dtype)

    def gram(self, mass: Part) -> Float[Array, "R R"]:
        return self.rows.gram(self._read(mass, Layout.read_mass))

    def sample_grams(self, mass: Part) -> Float[Array, "N C C"]:
        return self.rows.sample_grams(self._read(mass, Layout.read_mass))

    def normal(self) -> Float[Array, "P P"]:
        return self._columns(self._columns(self.rows.normal()).T)

    def to_dense(self) -> Float[Array, "R P"]:
        return self._columns(self.rows.to_dense())

    def _read(self, part: Part, read: Callable[[Layout, Array], Array]) -> Part:
        found = {layout.source: read(layout, leaf) for layout, leaf in zip(self.layouts, part, strict=True)}
        return tuple(found[source].astype(self.dtype) for source in range(len(found)))

    def _columns(self, matrix: Float[Array, "R P"]) -> Float[Array, "R P"]:
        """The columns of the factor's leaves in the order of the stored ones."""
        edges = np.cumsum([int(np.prod(shape)) for shape in self.rows.shapes])[:-1]
        parts = jnp.split(matrix, edges, axis=1)
        columns = []
        for layout in self.layouts:
            part = parts[layout.source].reshape(-1, *self.rows.shapes[layout.source])
            columns.append(jax.vmap(layout.write)(part).reshape(matrix.shape[0], -1))
        return jnp.concatenate(columns, axis=1)
