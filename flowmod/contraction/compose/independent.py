"""Modules side by side, without any coupling."""

from typing import Any

import numpy as np

from ._comparison import composition_of
from ._parts import Rates, rates_in
from .composition import Composition


def independent(rates: Any) -> Composition:
    """The rate of modules that do not see each other: the smallest of theirs, in blkdiag(`M_i`).

    Args:
        rates: the rate of each module, numbers or certificates, (N,).

    Returns:
        The `Composition`.

    Raises:
        ValueError: if a rate is not finite or not proved.
    """
    return uncoupled(rates_in("rates", rates))


def uncoupled(rates: Rates, ratio: float = 1.0) -> Composition:
    """The smallest of the rates, with the weight `ratio` for all modules but the first."""
    n = len(rates.values)
    return composition_of(rates, np.zeros((n, n)), np.where(np.arange(n) == 0, 1.0, ratio))
