"""How far the second module of a hierarchy is driven before it settles."""

from typing import Any

import numpy as np
from jaxtyping import Float

from ._parts import Rate, gain, rates_of


def transient(l1: Rate, l2: Rate, k21: float, t: Any, d1: float = 1.0, d2: float = 0.0) -> Float[np.ndarray, "*times"]:
    """What the distance of two runs can be in the driven module of a hierarchy, at each time.

    `exp(-l2 t) d2 + k21 d1 (exp(-l1 t) - exp(-l2 t)) / (l2 - l1)`, in module 2's own metric, without any scaling.

    Args:
        l1: the rate of the driving module, a number or a certificate.
        l2: the rate of the driven one.
        k21: the gain of module 1 into module 2, 1/time.
        t: times from 0 on, any shape.
        d1: the distance in module 1 at time 0.
        d2: the distance in module 2 at time 0.

    Returns:
        The bound at each time, in the shape of `t`.

    Raises:
        ValueError: if a rate is not finite or not proved, or a gain, a distance or a time is negative.
    """
    (first, second), k21 = rates_of(l1=l1, l2=l2).values, gain("k21", k21)
    d1, d2 = gain("d1", d1), gain("d2", d2)
    t = np.asarray(t, dtype=np.float64)
    if not (np.isfinite(t).all() and (t >= 0).all()):
        raise ValueError(f"`t` must be finite and from 0 on, got {t}.")
    # (exp(-l1 t) - exp(-l2 t)) / (l2 - l1) without cancellation: t exp(-l t) where the two rates are the same.
    gap = abs(second - first)
    driven = np.exp(-min(first, second) * t) * (-np.expm1(-gap * t) / gap if gap else t)
    return np.exp(-second * t) * d2 + k21 * d1 * driven
