"""The comparison matrix of a network of modules in a weighted metric, and a bound on its eigenvalue that is safe.

In the metric blkdiag(P_i M_i) the symmetric part of the generalized Jacobian has no eigenvalue above those of a matrix
of numbers `C`, with `-l_i` on the diagonal and `(sqrt(P_i/P_j) k_ij + sqrt(P_j/P_i) k_ji) / 2` off it. Its largest
eigenvalue is, for every positive vector `x`, at most `max_i (C x)_i / x_i` (Collatz and Wielandt): sums of positive
numbers, of which rounding is easily bounded. So eigenvectors only propose an `x`, and nothing hangs on their errors.
"""

import numpy as np
from jaxtyping import Float

from ._parts import Rates
from ._perron import headroom_of
from .composition import Composition

_EPS = float(np.finfo(np.float64).eps)
_TINY = float(np.finfo(np.float64).tiny)

_NOTABLE = 0.1
"""The part of the slowest module's rate that couplings must cost to be what limits."""


def composition_of(
    rates: Rates,
    gains: Float[np.ndarray, "N N"],
    weights: Float[np.ndarray, " N"],
    supremum: float | None = None,
    headroom: float | None = None,
) -> Composition:
    """What rates and gains give in the metric of the weights; without a `headroom`, that of this metric."""
    pushes = _pushes(gains, weights)
    rate, direction = safe_rate(rates.values, (pushes + pushes.T) / 2)
    return Composition(
        rate=rate,
        weights=weights,
        condition=condition_of(weights),
        limiting=_limiting(rates.values, pushes, rate, direction),
        headroom=headroom_of(rates.values, (pushes + pushes.T) / 2) if headroom is None else headroom,
        supremum=rate if supremum is None else max(supremum, rate),
        corners=rates.corners,
        times=rates.times,
    )


def condition_of(weights: Float[np.ndarray, " N"]) -> float:
    """The condition number of the scaling `sqrt P`."""
    return float(np.sqrt(weights.max() / weights.min()))


def _pushes(gains: Float[np.ndarray, "N N"], weights: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N N"]:
    """The gains in the weighted lengths, `sqrt(P_i / P_j) k_ij`, none so small that it underflows."""
    return np.where(gains > 0, np.maximum(np.sqrt(weights[:, None] / weights[None]) * gains, _TINY), 0.0)


def safe_rate(rates: Float[np.ndarray, " N"], pushes: Float[np.ndarray, "N N"]) -> tuple[float, np.ndarray]:
    """Minus the largest eigenvalue of `pushes - diag(rates)`, rounded down, and the direction that it belongs to."""
    n = len(rates)
    if not pushes.any():
        return float(rates.min()), np.eye(n)[np.argmin(rates)]
    x = np.ones(n)
    best = _bound(rates, pushes, x)
    matrix = pushes - np.diag(rates)
    matrix = matrix / np.abs(matrix).max()
    # Far enough above the eigenvalue for a solution that is positive in spite of rounding.
    shift = np.linalg.eigvalsh(matrix)[-1] + 64 * n * _EPS * np.abs(matrix).sum(axis=1).max()
    for _ in range(3):
        found = np.linalg.solve(shift * np.eye(n) - matrix, x)
        if not (np.isfinite(found).all() and (found > 0).all()):
            break
        x = found / found.max()
        best = max(best, _bound(rates, pushes, x))
    return best, x / np.linalg.norm(x)


def _bound(rates, pushes, x) -> float:
    n = len(rates)
    # Quotient, root, product, mean, product and a sum of n positive terms, quotient: each rounds once, or underflows.
    pushed = (pushes @ x + n * _TINY) / x * (1 + (n + 16) * _EPS)
    return float(np.where(pushes.any(axis=1), np.nextafter(rates - pushed, -np.inf), rates).min())


def _limiting(rates, pushes, rate, direction) -> int | tuple[int, int]:
    slowest = int(np.argmin(rates))
    if rates[slowest] - rate <= _NOTABLE * max(rates[slowest], 0.0) or rates[slowest] <= 0:
        return slowest
    # What each coupling adds to the eigenvalue; those that add the same differ by rounding, and the first is named.
    shares = pushes * np.outer(direction, direction)
    i, j = np.argwhere(shares >= (1 - 1e-6) * shares.max())[0]
    return int(i), int(j)
