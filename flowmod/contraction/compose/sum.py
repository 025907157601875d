"""Vector fields added up, all measured in one metric."""

import builtins
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np

from ..certificate._inputs import same
from ._parts import Proof, gain, listed, rates_in
from .composition import Composition


def sum(rates: Any, factors: Any = None) -> Composition:
    """The rate of `x' = sum_i a_i v_i(x)`, with all fields contracting in the *same* metric: `sum_i a_i l_i`.

    The pencil is linear in the field. A metric that moves by itself would be counted once for each field: here it must
    not depend on the time. Certificates must be of one box, the same times and the same constant metric.

    Args:
        rates: the rate of each field, numbers or certificates, (N,).
        factors: `a_i`, (N,), none negative; all 1 by default.

    Returns:
        The `Composition`. There is one metric, and so one weight.

    Raises:
        ValueError: if a rate is not finite or not proved, certificates are not seen to be of one region and one metric,
            a factor is negative, the numbers of rates and factors differ, or the sum is larger than a float.

    Reference: W. Lohmiller and J.-J. E. Slotine, "On contraction analysis for non-linear systems" (1998).
    """
    rates = listed("rates", rates)
    found = rates_in("rates", rates)
    for pair in combinations([(f"rates[{i}]", rate) for i, rate in enumerate(rates) if isinstance(rate, Proof)], 2):
        _require_same(*pair)
    n = len(found.values)
    factors = [1.0] * n if factors is None else [gain(f"factors[{i}]", a) for i, a in enumerate(factors)]
    if len(factors) != n:
        raise ValueError(f"`factors` must be one for each of the {n} rates, got {len(factors)}.")
    terms = [Fraction(a) * Fraction(float(rate)) for a, rate in zip(factors, found.values, strict=True)]
    rate = _rounded_down(builtins.sum(terms))
    return Composition(
        rate=rate,
        weights=np.ones(1),
        condition=1.0,
        limiting=terms.index(min(terms)),
        headroom=float("inf") if rate > 0 else 0.0,
        supremum=rate,
        corners=None if found.corners is None else np.asarray(rates[0].corners),
        times=found.times,
    )


def _require_same(first: tuple[str, Proof], second: tuple[str, Proof]) -> None:
    """Refuse two proofs whose fields can't be added: of other regions or times, or not surely in one metric."""
    (one_name, one), (other_name, other) = first, second
    if not np.array_equal(one.corners, other.corners):
        wrong = f"boxes are not the same: {_shown(one.corners)} and {_shown(other.corners)}"
    elif one.times is not None and other.times is not None and tuple(one.times) != tuple(other.times):
        wrong = f"times are not the same: {one.times} and {other.times}"
    elif one.metric_program is None or other.metric_program is None:
        wrong = "metrics can't be seen to be the same: a composition keeps no program of its metric"
    elif not same(one.metric_program, other.metric_program):
        wrong = "metrics are not the same, or can't be seen to be"
    else:
        return
    raise ValueError(
        f"`{one_name}` and `{other_name}` can't be added up, since their {wrong}. Certify both fields on one box in "
        "one metric, or give numbers for a result that is not proved."
    )


def _shown(corners: Any) -> str:
    return " to ".join(np.array2string(corner, precision=6, threshold=8) for corner in np.asarray(corners))


def _rounded_down(exact: Fraction | int) -> float:
    try:
        nearest = float(exact)
    except OverflowError as error:
        raise ValueError("`rates` add up to more than a float holds: measure the time in a longer unit.") from error
    return nearest if Fraction(nearest) <= exact else float(np.nextafter(nearest, -np.inf))
