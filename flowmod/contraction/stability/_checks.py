"""Constants and numbers of samples as users write them."""

import math
from typing import Any

import numpy as np

KINDS = ("replace-one", "leave-one-out")


def check_number(argument: str, value: Any, *, above: float = -math.inf, least: float = -math.inf) -> float:
    """A finite real number, larger than `above` and not less than `least`."""
    is_number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"
    if not is_number or not (above < float(value) < math.inf and float(value) >= least):
        kind = f"above {above:g}" if above > -math.inf else f"from {least:g}" if least > -math.inf else "of any sign"
        raise ValueError(f"`{argument}` must be a finite number {kind}, got {value!r}.")
    return float(value)


def check_time(argument: str, value: Any) -> float:
    """A positive time, which may be infinite."""
    return math.inf if value is not None and np.array_equal(value, math.inf) else check_number(argument, value, above=0)


def whole_steps(argument: str, t: float, step: float) -> int:
    """How many steps of Euler's method the time `t` takes."""
    steps = round(t / step)
    if steps < 1 or abs(steps * step - t) > 1e-6 * step:
        raise ValueError(
            f"`{argument}` must be a whole number of steps of {step:g}, got {t:g}, {t / step:.3f} of them."
        )
    return steps


def check_sizes(argument: str, sizes: Any) -> np.ndarray:
    """Numbers of samples, one or an array of them, whole and from 2."""
    array = np.asarray(sizes)
    if array.ndim > 1 or not array.size or array.dtype.kind not in "iu" or (array < 2).any():
        raise ValueError(
            f"`{argument}` must be whole numbers of samples from 2, got {sizes!r}: what ends in one sample has no "
            "stability, because there is none that stays."
        )
    return array


def check_kind(kind: Any) -> str:
    if kind not in KINDS:
        raise ValueError(f"`kind` must be {' or '.join(map(repr, KINDS))}, got {kind!r}.")
    return kind
