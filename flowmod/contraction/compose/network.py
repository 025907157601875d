"""Any number of modules, coupled in any way, of which only the sizes of the couplings are known."""

from typing import Any

import numpy as np

from .._metzler import abscissa
from ._comparison import composition_of
from ._parts import LARGEST, Rate, Rates, gain, gain_matrix, number, rates_in, rates_of
from ._perron import headroom_of, resolvent_weights
from .composition import Composition


def network(rates: Any, gains: Any, *, max_condition: float = 1e4) -> Composition:
    """The rate of a network of modules, from their rates and the gains between them.

    The matrix `Gamma` with `-rates` on its diagonal and `gains` off it bounds the whole. With the weights
    `P_i = w_i / v_i` from its left and right Perron vectors the rate is minus its spectral abscissa, and no weights
    give more. In a pure hierarchy that is only approached, by weights that drift apart without end: `max_condition`
    says how far they may, and `supremum` what is approached.

    Args:
        rates: the rate of each module, numbers or certificates, (N,).
        gains: (N, N), 1/time: `gains[i][j]` is the effect of `j` on `i`, a bound of
            `|Theta_i (dv_i/dx_j) Theta_j^-1|`; zero on the diagonal.
        max_condition: the largest condition number that the weights may have, 1 or more.

    Returns:
        The `Composition`; its `headroom` is that of the best weights for the larger gains.

    Raises:
        ValueError: if a rate is not finite or not proved, or a gain is negative, not finite, or on the diagonal.

    Reference: A. Davydov, S. Jafarpour, F. Bullo, "Non-Euclidean contraction theory for robust nonlinear stability"
    (2022).
    """
    found = rates_in("rates", rates)
    return _network(found, gain_matrix("gains", gains, len(found.values)), number("max_condition", max_condition))


def small_gain(l1: Rate, l2: Rate, k12: float, k21: float) -> Composition:
    """The rate of a feedback of which only the two gains are known.

    It is `(l1 + l2)/2 - sqrt((l1 - l2)^2/4 + k12 k21)` in blkdiag(`M1`, `P M2`) with `P = k12 / k21`, and positive if
    `k12 k21 < l1 l2`: the network of two modules.

    Args:
        l1: the rate of module 1, a number or a certificate.
        l2: the rate of module 2.
        k12: the gain of module 2 into module 1, 1/time.
        k21: the gain of module 1 into module 2, 1/time.

    Returns:
        The `Composition`.

    Raises:
        ValueError: if a rate is not finite or not proved, or a gain is negative.
    """
    k12, k21 = gain("k12", k12), gain("k21", k21)
    return _network(rates_of(l1=l1, l2=l2), np.array([[0.0, k12], [k21, 0.0]]), 1e4)


def _network(rates: Rates, gains: np.ndarray, max_condition: float) -> Composition:
    if max_condition < 1:
        raise ValueError(f"`max_condition` must be at least 1, got {max_condition:.6g}.")
    gamma = gains - np.diag(rates.values)
    top = abscissa(gamma)
    weights = resolvent_weights(gamma, top, min(max_condition, LARGEST) ** 2) if gains.any() else np.ones(len(gamma))
    return composition_of(rates, gains, weights, supremum=-top, headroom=headroom_of(rates.values, gains))
