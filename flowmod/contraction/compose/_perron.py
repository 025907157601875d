"""Weights for a Metzler matrix from its resolvent, and how far its gains are from the limit."""

import numpy as np
from jaxtyping import Float

from .._metzler import abscissa

_CLOSEST = 1e-12
"""How far above the abscissa the resolvent is taken, in units of the largest entry."""


def resolvent_weights(matrix: Float[np.ndarray, "N N"], top: float, most: float) -> Float[np.ndarray, " N"]:
    """`P = w / v` with `v = (s - matrix)^-1 1` and `w` that of the transpose, `s` as little above `top` as it may be.

    Both vectors are positive for every `s` above the abscissa, be the matrix irreducible or not, and at the abscissa
    they are its Perron vectors. In the metric of `P` no eigenvalue is above `s`. Where the weights drift apart as `s`
    comes down, as in a hierarchy, it stays where the largest weight is `most` times the smallest.
    """
    scale = np.abs(matrix).max()
    matrix, top = matrix / scale, top / scale
    low, high = np.log(_CLOSEST), np.log(1 / _CLOSEST)
    weights = _weights_at(matrix, top + np.exp(low), most)
    if weights is not None:
        return weights
    weights = np.ones(len(matrix))
    for _ in range(32):
        middle = (low + high) / 2
        found = _weights_at(matrix, top + np.exp(middle), most)
        low, high, weights = (middle, high, weights) if found is None else (low, middle, found)
    return weights


def _weights_at(matrix, shift, most) -> Float[np.ndarray, " N"] | None:
    ones, resolvent = np.ones(len(matrix)), shift * np.eye(len(matrix)) - matrix
    try:
        right, left = np.linalg.solve(resolvent, ones), np.linalg.solve(resolvent.T, ones)
    except np.linalg.LinAlgError:
        return None
    if not (np.isfinite(left + right).all() and (left > 0).all() and (right > 0).all()):
        return None
    with np.errstate(over="ignore", under="ignore"):
        weights = (left / left[0]) / (right / right[0])
        return weights if weights.min() > 0 and weights.max() <= most * weights.min() else None


def headroom_of(rates: Float[np.ndarray, " N"], gains: Float[np.ndarray, "N N"]) -> float:
    """The factor of `gains` at which `gains - diag(rates)` has the eigenvalue zero."""
    if rates.min() <= 0:
        return 0.0
    radius = abscissa(gains / rates[:, None])
    return 1 / radius if radius > 0 else float("inf")
