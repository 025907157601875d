"""Matrices that users bring: symmetric positive ones, and eigenvalues of a pencil that are safe."""

from typing import Any

import numpy as np
from jaxtyping import Float

from ...metric import asymmetry, tolerance

_EPS = float(np.finfo(np.float64).eps)


def real_matrix(argument: str, value: Any) -> Float[np.ndarray, "n m"]:
    """A finite matrix."""
    try:
        matrix = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{argument}` must be a matrix of numbers, got {value!r}.") from error
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"`{argument}` must be a matrix with entries, got shape {matrix.shape}.")
    if not np.isfinite(matrix).all():
        raise ValueError(f"`{argument}` must be finite, got {matrix}.")
    return matrix


def symmetric_matrix(argument: str, value: Any) -> Float[np.ndarray, "n n"]:
    """A finite symmetric matrix."""
    matrix = real_matrix(argument, value)
    if matrix.shape[0] != matrix.shape[1] or asymmetry(matrix) > tolerance(matrix.dtype):
        raise ValueError(f"`{argument}` must be square and symmetric, got {matrix}.")
    return (matrix + matrix.T) / 2


def metric_matrix(argument: str, value: Any) -> Float[np.ndarray, "n n"]:
    """A finite symmetric positive definite matrix."""
    matrix = symmetric_matrix(argument, value)
    smallest = np.linalg.eigvalsh(matrix)[0]
    if smallest <= 0:
        raise ValueError(f"`{argument}` must be positive definite, but its smallest eigenvalue is {smallest:.6g}.")
    return matrix


def blkdiag(blocks: list[np.ndarray]) -> Float[np.ndarray, "n n"]:
    """The block diagonal matrix of square blocks."""
    edges = np.cumsum([0, *map(len, blocks)])
    whole = np.zeros((edges[-1], edges[-1]))
    for start, end, block in zip(edges[:-1], edges[1:], blocks, strict=True):
        whole[start:end, start:end] = block
    return whole


def pencil_modes(s: Float[np.ndarray, "n n"], m: Float[np.ndarray, "n n"]) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of `s x = lambda m x` in rising order, and vectors with `x^T m x = 1`."""
    inverse = np.linalg.inv(np.linalg.cholesky(m))
    values, vectors = np.linalg.eigh(inverse @ s @ inverse.T)
    return values, inverse.T @ vectors


def rounding(s: Float[np.ndarray, "n n"], m: Float[np.ndarray, "n n"]) -> float:
    """More than rounding can move an eigenvalue of the pencil: the backward error of its factors and eigenvalues."""
    spread = np.linalg.eigvalsh(m)
    return float(16 * len(s) ** 1.5 * _EPS * np.linalg.norm(s) * spread[-1] / spread[0] ** 2)
