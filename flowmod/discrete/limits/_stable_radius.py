"""How far a method is stable along a ray of the complex plane: Schur and Cohn's conditions, as polynomials."""

import itertools
import math

import numpy as np
from numpy.polynomial import polynomial

from ._characteristic import Characteristic

_ROUNDING = 1e-13
"""Below this share of the terms that make it up, a coefficient is rounding."""


def stable_radius(of: Characteristic, direction: complex, rounding: float = 0.0) -> float:
    """The largest `r` such that no root grows, `|zeta| <= 1`, at `z = s direction` for all `0 < s < r`.

    A polynomial of degree n has its roots in the unit disc if, and at its edge as long as, n real polynomials in `s`
    are not positive: the first that becomes positive ends the stable part of the ray. They are worked out and not
    sampled, so that no narrow gap is missed.

    Args:
        of: the method's polynomial.
        direction: a complex number of modulus one.
        rounding: how well the direction is known, so that what decays or grows by less counts as doing neither.

    Returns:
        The radius: infinite if the whole ray is stable, zero if no part of it is.

    Reference: E. I. Jury, "Theory and Application of the z-Transform Method" (1964), ch. 3.
    """
    rounding = max(rounding, _ROUNDING)
    along = [np.asarray(entry) * direction ** np.arange(len(entry)) for entry in of]
    radius = math.inf
    while len(along) > 1:
        first, last = along[0], along[-1]
        condition = np.real(_difference(first, np.conj(first), last, np.conj(last), rounding))
        radius = min(radius, _first_rise(condition))
        # The next polynomial, of one degree less: conj(p_n) p_k - p_0 conj(p_(n-k)).
        pairs = zip(along[1:], along[-2::-1], strict=True)
        along = [_difference(np.conj(last), upper, first, np.conj(lower), rounding) for upper, lower in pairs]
    return radius


def _difference(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, rounding: float) -> np.ndarray:
    """`a b - c d`, with zeros for coefficients that are rounding."""
    value = polynomial.polysub(polynomial.polymul(a, b), polynomial.polymul(c, d))
    a, b, c, d = map(np.abs, (a, b, c, d))
    size = polynomial.polyadd(polynomial.polymul(a, b), polynomial.polymul(c, d))
    value = np.pad(value, (0, len(size) - len(value)))
    return np.where(np.abs(value) <= rounding * size, 0, value)


def _first_rise(condition: np.ndarray) -> float:
    """Where a real polynomial becomes positive for the first time on the positive axis."""
    powers = np.flatnonzero(condition)
    if not powers.size:
        return math.inf
    reduced = condition[powers[0] : powers[-1] + 1]
    if reduced[0] > 0:
        return 0.0
    roots = polynomial.polyroots(reduced)
    real = np.sort(roots.real[(roots.real > 0) & (np.abs(roots.imag) <= 1e-7 * np.abs(roots))])
    for root, following in itertools.pairwise([*real, *(2 * real[-1:])]):
        if polynomial.polyval((root + following) / 2, reduced) > 0:
            return float(root)
    return math.inf
