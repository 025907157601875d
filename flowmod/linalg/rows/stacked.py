"""Factors of one block on different samples, on top of each other: the rows of several batches."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from .arranged import ArrangedRows
from .base import AbstractRows
from .dense import DenseRows
from .khatri_rao import KhatriRaoRows
from .lookup import LookupRows
from .positions import PositionRows
from .repeated import RepeatedRows
from .summed import SummedRows

_BY_SAMPLE = (KhatriRaoRows, PositionRows, LookupRows, DenseRows)


def held(rows: AbstractRows) -> AbstractRows:
    """The same factor as one whose arrays all have the samples on their first axis, that of a repeated one the second.

    It holds no function and can be carried through a loop. Rows without such a form are held as a matrix.
    """
    if isinstance(rows, _BY_SAMPLE):
        return rows
    if isinstance(rows, RepeatedRows):
        return RepeatedRows(jax.vmap(held)(rows.each))
    if isinstance(rows, SummedRows):
        return SummedRows(tuple(map(held, rows.uses)))
    if isinstance(rows, ArrangedRows):
        return ArrangedRows(held(rows.rows), rows.layouts, rows.dtype)
    return DenseRows(rows.to_dense().reshape(*rows.row_shape, -1), rows.shapes)


def stacked(factors: Sequence[AbstractRows]) -> AbstractRows:
    """`[K_1; ...; K_m]`, of factors as `held` makes them: alike but for their numbers of samples."""
    axis = _axis(factors[0])
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays, axis), *factors)


def first_samples(rows: AbstractRows, count: int) -> AbstractRows:
    """The rows of the first samples of a factor as `held` makes it."""
    axis = _axis(rows)
    return jax.tree.map(lambda array: jax.lax.slice_in_dim(array, 0, count, axis=axis), rows)


def _axis(rows: AbstractRows) -> int:
    return len(rows.row_shape) - 2
