"""How much per update: a number, times powers of schedules."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Schedule = Callable[[Any], Any]
Powers = tuple[tuple[Schedule, int], ...]

_CHUNK = 1024

_EARLY = np.concatenate([np.arange(1000), 1000 * 2 ** np.arange(20)])
"""Updates at which a schedule is asked for its sign: a warm-up may begin with zero. They are one chunk."""


@dataclasses.dataclass(frozen=True)
class Rate:
    """A number times powers of schedules, functions of how many updates there were.

    Schedules are kept as they are, and told apart by identity, so that the ratio of two learning rates with the same
    schedule is a number.

    Attributes:
        number: the constant factor.
        powers: pairs of a schedule and its power.
    """

    number: float
    powers: Powers = ()

    @property
    def is_constant(self) -> bool:
        return not self.powers or self.number == 0

    def __mul__(self, other: "Rate") -> "Rate":
        return Rate(self.number * other.number, _joined(self.powers, other.powers))

    def __truediv__(self, other: "Rate") -> "Rate":
        below = tuple((schedule, -power) for schedule, power in other.powers)
        return Rate(self.number / other.number, _joined(self.powers, below))

    def at(self, counts: np.ndarray) -> np.ndarray:
        """The values after so many updates: counts and values (N,); infinite or NaN where a divisor is zero."""
        values = np.full(counts.shape, self.number)
        for schedule, power in self.powers:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = values * _evaluated(schedule, counts) ** power
        return values

    @property
    def sign(self) -> int:
        """-1, 0 or 1, as the first of some early updates has it that is not zero."""
        if self.is_constant:
            return int(np.sign(self.number))
        values = self.at(_EARLY)
        signs = np.sign(values[np.isfinite(values)]).astype(int)
        return next((int(sign) for sign in signs if sign), 0)


def _evaluated(schedule: Schedule, counts: np.ndarray) -> np.ndarray:
    # Always of one length: another one would be compiled anew, operation by operation.
    chunks = -(-counts.size // _CHUNK)
    padded = np.resize(counts, (chunks, _CHUNK)).astype(np.int32)
    try:
        with jax.ensure_compile_time_eval(), jax.numpy_dtype_promotion("standard"):
            found = [np.asarray(jax.vmap(schedule)(jnp.asarray(chunk)), np.float64) for chunk in padded]
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise ValueError(
            f"The schedule {schedule!r} of `optimizer` or `clock` is no function of JAX, whose argument may be traced: "
            "take `jnp.where` for `if`, and `jnp` for `math` and NumPy."
        ) from error
    wrong = next((chunk.shape[1:] for chunk in found if chunk.ndim > 1), None)
    if wrong is not None:
        raise ValueError(
            f"The schedule {schedule!r} of `optimizer` or `clock` must return a number, got an array of shape {wrong}."
        )
    return np.concatenate([np.empty(0), *found])[: counts.size]


def _joined(left: Powers, right: Powers) -> Powers:
    found: dict[int, tuple[Schedule, int]] = {}
    for schedule, power in (*left, *right):
        found[id(schedule)] = schedule, power + found.get(id(schedule), (schedule, 0))[1]
    return tuple(pair for pair in found.values() if pair[1])


ONE = Rate(1.0)
