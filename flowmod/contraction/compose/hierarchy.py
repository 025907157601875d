"""One module drives another."""

import numpy as np

from ._comparison import composition_of
from ._parts import LARGEST, Rate, gain, number, rates_of
from .composition import Composition

_GIVEN_UP = 0.01


def hierarchy(l1: Rate, l2: Rate, k21: float, eps: float | None = None) -> Composition:
    """The rate of a module 1 that drives a module 2, which does not act back, in blkdiag(`M1`, `eps^2 M2`).

    It is `(l1 + l2)/2 - sqrt((l1 - l2)^2 + eps^2 k21^2)/2`, for any gain as close to `min(l1, l2)` as one pays for: the
    condition number is `1/eps`, and distances may first grow by that factor. `fm.compose.transient` says by how much
    they do. For deeper hierarchies use `fm.compose.network`.

    Args:
        l1: the rate of the driving module, a number or a certificate.
        l2: the rate of the driven one.
        k21: the gain of module 1 into module 2, a bound of `|Theta_2 (dv_2/dx_1) Theta_1^-1|`, 1/time.
        eps: how much shorter lengths in module 2 are measured; by default so that the coupling costs a hundredth of
            the slower rate, and 1 where it costs less than that.

    Returns:
        The `Composition`; its `headroom` is that of this `eps`.

    Raises:
        ValueError: if a rate is not finite or not proved, the gain is negative or far too large, or `eps` is not
            positive.

    Reference: W. Lohmiller and J.-J. E. Slotine, "On contraction analysis for non-linear systems" (1998).
    """
    rates, k21 = rates_of(l1=l1, l2=l2), gain("k21", k21)
    eps = _affordable(rates.values, k21) if eps is None else number("eps", eps)
    if not 1 / LARGEST <= eps <= LARGEST:
        raise ValueError(f"`eps` must be positive, and its square and that one's inverse floats, got {eps:.6g}.")
    gains = np.array([[0.0, 0.0], [k21, 0.0]])
    return composition_of(rates, gains, np.array([1.0, eps**2]), supremum=float(rates.values.min()))


def _affordable(rates: np.ndarray, k21: float) -> float:
    if k21 == 0:
        return 1.0
    cost = _GIVEN_UP * (abs(rates.min()) or max(np.abs(rates).max(), k21))
    eps = min(1.0, float(2 * np.sqrt(cost) / k21 * np.sqrt(np.ptp(rates) + cost)))
    if eps < 1 / LARGEST:
        raise ValueError(
            f"`k21` = {k21:.6g} is too large for the rates {rates}: no `eps` whose square is a float makes it small. "
            "Is its unit 1/time, as that of the rates?"
        )
    return eps
