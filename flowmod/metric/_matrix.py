"""Metrics given as an n x n matrix in `ravel_pytree` order: checks, operator and solve."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from .._tree import floats, is_traced, ravel, size, unraveler
from .._typing import Covector, State, Vector

_PSD = lx.positive_semidefinite_tag


def require_square(argument: str, matrix: Array, n: int) -> None:
    if matrix.shape != (n, n):
        raise ValueError(
            f"`{argument}` must be a matrix of shape ({n}, {n}), one row for each number of the state, got shape "
            f"{matrix.shape}. Return the full matrix in `jax.flatten_util.ravel_pytree` order, or use "
            "`fm.DiagonalMetric` for a tree of diagonal entries."
        )


def require_positive_definite(argument: str, matrix: Array) -> None:
    """Raise a `ValueError` that says what is wrong with a concrete matrix; traced ones pass."""
    if is_traced(matrix):
        return
    m = np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(m).all():
        raise ValueError(f"`{argument}` must be finite, got {m}. Check the function that makes it at this state.")
    if asymmetry(m) > tolerance(matrix.dtype):
        raise ValueError(
            f"`{argument}` must be symmetric, but |M - M^T| is {asymmetry(m):.2g} of |M| in {m}. "
            "A metric is an inner product: use (M + M^T)/2 if that is what you mean."
        )
    smallest = float(np.linalg.eigvalsh(m)[0])
    if smallest <= 0:
        raise ValueError(
            f"`{argument}` must be positive definite, but its smallest eigenvalue is {smallest:.6g}. "
            "Add a mass (a positive multiple of the identity) to it."
        )


def asymmetry(matrix):
    """Largest entry of `|M - M^T|`, relative to the largest of `|M|`."""
    xp = np if isinstance(matrix, np.ndarray) else jnp
    scale = xp.max(xp.abs(matrix))
    return xp.max(xp.abs(matrix - matrix.T)) / xp.where(scale > 0, scale, 1)


def tolerance(dtype) -> float:
    """Rounding of a matrix product is far below this; a wrong formula is far above."""
    return float(jnp.finfo(dtype).eps) ** 0.5


def matrix_operator(matrix: Float[Array, "n n"], y: State) -> lx.AbstractLinearOperator:
    """The matrix as an operator on trees like `y`."""
    like = floats(y)
    leaves, structure = jax.tree.flatten(like)
    matrix = matrix.astype(ravel(y).dtype)
    if structure == jax.tree.structure(0) and leaves[0].ndim == 1:
        return lx.MatrixLinearOperator(matrix, _PSD)
    edges = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def block(rows, out_leaf):
        columns = jnp.split(rows, edges, axis=1)
        shaped = [c.reshape(out_leaf.shape + leaf.shape) for c, leaf in zip(columns, leaves, strict=True)]
        return jax.tree.unflatten(structure, shaped)

    row_blocks = jnp.split(matrix, edges, axis=0)
    blocks = [block(rows, leaf) for rows, leaf in zip(row_blocks, leaves, strict=True)]
    return lx.PyTreeLinearOperator(jax.tree.unflatten(structure, blocks), jax.eval_shape(lambda: like), _PSD)


def matrix_flat(matrix: Float[Array, "n n"], y: State, vector: Vector) -> Covector:
    """`M vector` of a symmetric matrix, as a sum over rows.

    XLA hands `M @ v` to a thread pool, which takes longer than a product of a hundred numbers does; this sum it
    compiles into the loop that made the matrix.
    """
    matrix = matrix.astype(ravel(y).dtype)
    return unraveler(y)(jnp.sum(matrix * ravel(vector).astype(matrix.dtype)[:, None], axis=0))


def matrix_sharp(matrix: Float[Array, "n n"], y: State, covector: Covector) -> Vector:
    """`M^-1 covector` by Cholesky.

    The Cholesky factor reads one triangle only, so that a matrix that is not symmetric would be solved silently
    as another one: it gives NaN here instead, as an indefinite matrix does.
    """
    matrix = matrix.astype(ravel(y).dtype)
    symmetric = asymmetry(matrix) <= tolerance(matrix.dtype)
    matrix = jnp.where(symmetric, (matrix + matrix.T) / 2, jnp.nan)
    operator = lx.MatrixLinearOperator(matrix, _PSD)
    solution = lx.linear_solve(operator, ravel(covector).astype(matrix.dtype), lx.Cholesky(), throw=False)
    return unraveler(y)(solution.value)


def state_size(y: State) -> int:
    n = size(y)
    if n == 0:
        raise ValueError(f"`y` must hold at least one float array, got {y!r}: use `jnp.asarray(1.0)` for a number.")
    return n
