"""Vector fields added up, all measured in one metric."""

from fractions import Fraction
from typing import Any

import numpy as np

from ._parts import gain, rates_in
from .composition import Composition


def sum(rates: Any, factors: Any = None) -> Composition:
    """The rate of `x' = sum_i a_i v_i(x)`, with all fields contracting in the *same* metric: `sum_i a_i l_i`.

    The pencil is linear in the field. A metric that moves by itself would be counted once for each field: here it must
    not depend on the time.

    Args:
        rates: the rate of each field, numbers or certificates, (N,).
        factors: `a_i`, (N,), none negative; all 1 by default.

    Returns:
        The `Composition`. There is one metric, and so one weight.

    Raises:
        ValueError: if a rate is not finite or not proved, a factor is negative, or their numbers differ.

    Reference: W. Lohmiller and J.-J. E. Slotine, "On contraction analysis for non-linear systems" (1998).
    """
    found = rates_in("rates", rates)
    n = len(found.values)
    factors = [1.0] * n if factors is None else [gain(f"factors[{i}]", a) for i, a in enumerate(factors)]
    if len(factors) != n:
        raise ValueError(f"`factors` must be one for each of the {n} rates, got {len(factors)}.")
    exact = Fraction(0)
    for a, rate in zip(factors, found.values, strict=True):
        exact += Fraction(a) * Fraction(float(rate))
    rate = _rounded_down(exact)
    return Composition(
        rate=rate,
        weights=np.ones(1),
        condition=1.0,
        limiting=int(np.argmin(np.asarray(factors) * found.values)),
        headroom=float("inf") if rate > 0 else 0.0,
        supremum=rate,
        proved=found.proved,
    )


def _rounded_down(exact: Fraction) -> float:
    nearest = float(exact)
    return nearest if Fraction(nearest) <= exact else float(np.nextafter(nearest, -np.inf))
