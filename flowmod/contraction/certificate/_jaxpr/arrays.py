"""Arrays of nodes: what a program does with whole arrays, entry by entry, and the textbook factorisations."""

from collections.abc import Callable

import numpy as np

from .._builder import Builder

Nodes = np.ndarray
"""An integer array, each entry a node of a program."""


def entrywise(function: Callable, *arrays: Nodes) -> Nodes:
    """A function of nodes on arrays of one shape; scalars go with any shape."""
    arrays = np.broadcast_arrays(*arrays)
    entries = [function(*(int(node) for node in nodes)) for nodes in zip(*(a.ravel() for a in arrays), strict=True)]
    return np.array(entries, dtype=int).reshape(arrays[0].shape)


def reduce(builder: Builder, name: str, start: float | None, array: Nodes, axes: tuple[int, ...]) -> Nodes:
    """`add`, `mul`, `max` or `min` over axes; `start` is what an empty one gives."""
    kept = [axis for axis in range(array.ndim) if axis not in axes]
    rows = array.transpose(*kept, *axes).reshape(*(array.shape[axis] for axis in kept), -1)
    if rows.shape[-1] == 0:
        return np.full(rows.shape[:-1], builder.constant(np.nan if start is None else start))
    return accumulate(builder, name, rows, rows.ndim - 1, False)[..., -1]


def accumulate(builder: Builder, name: str, array: Nodes, axis: int, reverse: bool) -> Nodes:
    """The partial results of `reduce` along an axis."""
    result = np.moveaxis(array, axis, -1).copy()
    result = result[..., ::-1] if reverse else result
    for i in range(1, result.shape[-1]):
        result[..., i] = entrywise(lambda x, y: builder.apply(name, x, y), result[..., i - 1], result[..., i])
    return np.moveaxis(result[..., ::-1] if reverse else result, -1, axis)


def contract(builder: Builder, left: Nodes, right: Nodes, summed: tuple, batch: tuple) -> Nodes:
    """Sums of products over pairs of axes: `lax.dot_general`."""
    (left_sum, right_sum), (left_batch, right_batch) = summed, batch
    left_free = [axis for axis in range(left.ndim) if axis not in (*left_sum, *left_batch)]
    right_free = [axis for axis in range(right.ndim) if axis not in (*right_sum, *right_batch)]
    shape = [left.shape[axis] for axis in (*left_batch, *left_free)] + [right.shape[axis] for axis in right_free]
    batches, inner = _size(left, left_batch), _size(left, left_sum)
    left = left.transpose(*left_batch, *left_free, *left_sum).reshape(batches, _size(left, left_free), inner)
    right = right.transpose(*right_batch, *right_free, *right_sum).reshape(batches, _size(right, right_free), inner)
    result = np.empty((batches, left.shape[1], right.shape[1]), dtype=int)
    for b, i, j in np.ndindex(*result.shape):
        result[b, i, j] = _dot(builder, left[b, i], right[b, j])
    return result.reshape(shape)


def cholesky(builder: Builder, matrix: Nodes) -> Nodes:
    """The lower factor of one symmetric matrix, of which the lower triangle is read; undefined if it has none."""
    n = len(matrix)
    factor = np.full((n, n), builder.constant(0.0))
    for i in range(n):
        for j in range(i + 1):
            rest = builder.apply("sub", int(matrix[i, j]), _dot(builder, factor[i, :j], factor[j, :j]))
            if i == j:
                factor[i, i] = builder.apply("sqrt", rest)
            else:
                factor[i, j] = builder.apply("div", rest, int(factor[j, j]))
    return factor


def lu(builder: Builder, matrix: Nodes) -> Nodes:
    """Both triangles of `matrix = L U` in one, without a change of rows: a solve gives the same where both exist."""
    result = matrix.copy()
    rows, columns = matrix.shape
    for i, j in np.ndindex(rows, columns):
        k = min(i, j)
        rest = builder.apply("sub", int(matrix[i, j]), _dot(builder, result[i, :k], result[:k, j]))
        result[i, j] = rest if i <= j else builder.apply("div", rest, int(result[j, j]))
    return result


def triangular_solve(builder: Builder, matrix: Nodes, right: Nodes, lower: bool, unit: bool) -> Nodes:
    """`X` of `matrix X = right`, of which one triangle is read."""
    n = len(matrix)
    result = right.copy()
    order = list(range(n)) if lower else list(range(n))[::-1]
    for place, i in enumerate(order):
        before = order[:place]
        for column in range(right.shape[1]):
            known = _dot(builder, matrix[i, before], result[before, column])
            rest = builder.apply("sub", int(right[i, column]), known)
            result[i, column] = rest if unit else builder.apply("div", rest, int(matrix[i, i]))
    return result


def batched(function: Callable, *arrays: Nodes) -> Nodes:
    """A function of matrices on arrays whose leading axes are a batch."""
    batch = arrays[0].shape[:-2]
    results = [function(*(array[index] for array in arrays)) for index in np.ndindex(*batch)]
    return np.stack(results).reshape(*batch, *results[0].shape)


def _size(array: Nodes, axes) -> int:
    return int(np.prod([array.shape[axis] for axis in axes], dtype=int))


def _dot(builder: Builder, left: Nodes, right: Nodes) -> int:
    total = builder.constant(0.0)
    for a, b in zip(left, right, strict=True):
        total = builder.apply("add", total, builder.apply("mul", int(a), int(b)))
    return total
