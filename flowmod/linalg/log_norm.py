"""The matrix measure (logarithmic norm): how fast `x' = A x` can grow in a norm, for the norms 1, 2 and infinity."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._tree import as_float, is_traced


def log_norm(matrix: Any, norm: float = 2, factor: Any = None) -> Float[Array, ""]:
    """The matrix measure `mu_p(Theta A Theta^-1)`, the log norm of `A` for the vector norm `|Theta x|_p`.

    It is the slope of `|I + h A|` at `h = 0`, so that `|expm(t A)| <= exp(mu t)`. No eigenvalue's real part is above
    it, in any norm. With `norm=1` it is the largest of the columns' `a_jj + sum_i |a_ij|`, with `jnp.inf` the same of
    the rows, with 2 the largest eigenvalue of the symmetric part. It can be traced and differentiated.

    Args:
        matrix: `A`, (n, n), in 1/time.
        norm: 1, 2 or `jnp.inf`.
        factor: `Theta`, an invertible (n, n) matrix, or (n,) positive weights for a diagonal one; the identity by
            default. For the norms 1 and infinity it is not enough to know `Theta^T Theta`: a rotation changes them.

    Returns:
        The measure in 1/time, a scalar; NaN where `A` is not finite or the weights are not positive.

    Raises:
        ValueError: if the matrix is not square, `norm` is another, or `factor` has another shape or, where its entries
            are known, is singular or a weight not positive.

    Reference: C. Desoer and H. Haneda, "The measure of a matrix as a tool to analyze computer algorithms for circuit
    analysis" (1972).
    """
    p, matrix = as_norm(norm), as_float(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"`matrix` must be square, (n, n), got shape {matrix.shape}.")
    if factor is not None:
        matrix = in_factor(matrix, as_float(factor).astype(matrix.dtype))
    return matrix_measure(matrix, p)


def as_norm(norm: Any) -> float:
    """1, 2 or `math.inf`, from any number that says so.

    Raises:
        ValueError: for another.
    """
    for known in (1, 2, math.inf):
        if not isinstance(norm, bool | str) and np.ndim(norm) == 0 and norm == known:
            return known
    raise ValueError(f"`norm` must be 1, 2 or `jnp.inf`, got {norm!r}.")


def matrix_measure(matrix: Float[Array, "n n"], p: float) -> Float[Array, ""]:
    """`mu_p` of a matrix, in its own coordinates."""
    if p == 2:
        # LAPACK makes finite eigenvalues of some matrices that have a NaN in them.
        known = jnp.isfinite(matrix).all()
        return jnp.where(known, jnp.linalg.eigvalsh((matrix + matrix.T) / 2)[-1], jnp.nan)
    diagonal = jnp.diag(matrix)
    others = jnp.abs(matrix - jnp.diag(diagonal))
    return jnp.max(diagonal + jnp.sum(others, axis=0 if p == 1 else 1))


def in_factor(matrix: Float[Array, "n n"], factor: Float[Array, "..."]) -> Float[Array, "n n"]:
    """`Theta A Theta^-1`, for an (n, n) `Theta` or the (n,) weights of a diagonal one."""
    n = len(matrix)
    if factor.shape not in ((n,), (n, n)):
        raise ValueError(f"`factor` must be an ({n}, {n}) matrix or ({n},) weights, got shape {factor.shape}.")
    if factor.ndim == 1:
        if not is_traced(factor) and not bool(np.all(np.asarray(factor) > 0)):
            raise ValueError(f"`factor` must be positive weights, got {np.asarray(factor)}.")
        factor = jnp.where(factor > 0, factor, jnp.nan)
        return factor[:, None] * matrix / factor[None]
    if not is_traced(factor) and np.linalg.matrix_rank(np.asarray(factor)) < n:
        raise ValueError(f"`factor` must be invertible, got {np.asarray(factor)}: |Theta x| is no norm.")
    return jnp.linalg.solve(factor.T, (factor @ matrix).T).T
