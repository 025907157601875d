"""Two modules that act on each other, where more is known of the couplings than their sizes."""

import numpy as np

from ._comparison import composition_of
from ._parts import Rate, gain, rates_of, weight
from .composition import Composition
from .independent import uncoupled


def skew_feedback(l1: Rate, l2: Rate, ratio: float = 1.0) -> Composition:
    """The rate of negative feedback `F12 = -ratio F21^T`: `min(l1, l2)` for any gain, in blkdiag(`M1`, `ratio M2`).

    What each module does to the other cancels in the symmetric part.

    Args:
        l1: the rate of module 1, a number or a certificate.
        l2: the rate of module 2.
        ratio: `c > 0` in `F12 = -c F21^T`, the couplings in the modules' own lengths,
            `F_ij = Theta_i (dv_i/dx_j) Theta_j^-1`. Without an effect of 2 on 1 use `fm.compose.hierarchy`.

    Returns:
        The `Composition`.

    Raises:
        ValueError: if a rate is not finite or not proved, or the ratio is not positive.

    Reference: J.-J. E. Slotine, "Modular stability tools for distributed computation and control" (2003).
    """
    return uncoupled(rates_of(l1=l1, l2=l2), weight("ratio", ratio))


def unscaled_feedback(l1: Rate, l2: Rate, k: float) -> Composition:
    """The rate of a feedback of which `|F12 + F21^T|` is known, in blkdiag(`M1`, `M2`) as they are.

    It is `(l1 + l2)/2 - sqrt((l1 - l2)^2 + k^2)/2`, and positive if `k^2 < 4 l1 l2`. Better than
    `fm.compose.small_gain` where the two couplings nearly cancel.

    Args:
        l1: the rate of module 1, a number or a certificate.
        l2: the rate of module 2.
        k: the largest `|F12 + F21^T|`, 1/time, with `F_ij = Theta_i (dv_i/dx_j) Theta_j^-1`.

    Returns:
        The `Composition`.

    Raises:
        ValueError: if a rate is not finite or not proved, or `k` is negative.

    Reference: J.-J. E. Slotine, "Modular stability tools for distributed computation and control" (2003).
    """
    rates, half = rates_of(l1=l1, l2=l2), gain("k", k) / 2
    return composition_of(rates, np.array([[0.0, half], [half, 0.0]]), np.ones(2))
