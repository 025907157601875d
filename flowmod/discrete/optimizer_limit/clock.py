"""The clock of an optimizer: how much time each update takes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .rate import Rate


def number(value: float) -> np.floating[Any]:
    """A number of a flow: an array to JAX, so that another number is not another program."""
    return jnp.result_type(float).type(value)


class Moving(eqx.Module):
    """A number that changes with time: known when an update begins, linear in between, NaN where it is not known.

    Attributes:
        knots: times, (N,), ascending.
        values: the number there, (N,).
    """

    knots: Float[np.ndarray, " N"]
    values: Float[np.ndarray, " N"]

    def at(self, t: ArrayLike) -> Float[Array, ""]:
        knots = jnp.asarray(self.knots)
        t = jnp.asarray(t).astype(knots.dtype)
        # The last time, rounded in single precision, is still inside.
        slack = 1e-6 * knots[-1]
        inside = (t >= knots[0] - slack) & (t <= knots[-1] + slack)
        return jnp.where(inside, jnp.interp(t, knots, jnp.asarray(self.values)), jnp.nan)


class Steady(eqx.Module):
    """A number that grows with time, from zero, as steadily as it does."""

    slope: np.floating[Any]

    def at(self, t: ArrayLike) -> Float[Array, ""]:
        slope = jnp.asarray(self.slope)
        return slope * jnp.asarray(t).astype(slope.dtype)


Coefficient = np.floating[Any] | Moving | Steady


def value(coefficient: Coefficient, t: ArrayLike, dtype: Any) -> Float[Array, ""]:
    """A coefficient at a time, in the precision of what it multiplies."""
    return jnp.asarray(coefficient.at(t) if isinstance(coefficient, Moving | Steady) else coefficient).astype(dtype)


def vanishes(coefficient: Coefficient) -> bool:
    """Whether a number is zero at some time, or has both signs."""
    values = coefficient.values if isinstance(coefficient, Moving) else np.asarray(coefficient)
    return bool(values.min() <= 0 <= values.max())


class Clock(NamedTuple):
    """Time for updates, and numbers at times for numbers at updates.

    Attributes:
        rate: the time that an update takes, by how many came before it.
        updates: how far numbers that change are tabulated; `None` if nobody said.
    """

    rate: Rate
    updates: int | None

    def times(self, counts: np.ndarray) -> np.ndarray:
        """The time after so many updates: the sum of what each of them takes.

        Raises:
            ValueError: if an update takes no finite, positive time or none.
        """
        if self.rate.is_constant:
            return counts * self.rate.number
        taken = self.rate.at(np.arange(int(np.max(counts, initial=0))))
        wrong = np.flatnonzero(~((taken >= 0) & np.isfinite(taken)))
        if wrong.size:
            raise ValueError(
                f"`optimizer` has the learning rate {taken[wrong[0]]:g} at update {wrong[0]}, and time can't go by "
                "it: it must be finite and not negative. Give a `clock=` of its own."
            )
        return np.concatenate([np.zeros(1), np.cumsum(taken)])[counts]

    def coefficient(self, rate: Rate, what: str) -> Coefficient:
        """A number for the flow: itself if it is constant, else a table over time.

        Args:
            rate: the number, by how many updates came before.
            what: what it is, for an error.

        Raises:
            ValueError: if it changes and `updates` is not given, or is not finite while time goes by.
        """
        return number(rate.number) if rate.is_constant else self._table(rate.at, what)

    def elapsed(self, per_update: float) -> Coefficient:
        """How much has gathered by a time, if every update adds as much."""
        if self.rate.is_constant:
            return Steady(number(per_update / self.rate.number))
        return self._table(lambda counts: per_update * counts, "the number of updates")

    def _table(self, at: Any, what: str) -> Moving:
        if self.updates is None:
            raise ValueError(
                f"`updates` must be given, the number of updates that the flow is for: {what} changes from update to "
                "update on this clock, and is tabulated so far."
            )
        counts = np.arange(self.updates + 1)
        times, values = self.times(counts), at(counts)
        if not np.isfinite(values[-1]):  # of the update after the last, which is not made
            values[-1] = values[-2]
        # A warm-up may begin with an update that takes no time. What one such update does is of the order of a step.
        lasting = np.append(np.diff(times) > 0, True)
        wrong = np.flatnonzero(~np.isfinite(values) & lasting)
        stuck = np.flatnonzero(np.isinf(values) & ~lasting)
        if wrong.size or stuck.size > 1 or not lasting[:-1].any():
            n = [*wrong, *stuck, 0][0]
            raise ValueError(
                f"{what} is {values[n]} at update {n} on this clock: give a `clock=` that goes on while anything moves."
            )
        return Moving(times[lasting], values[lasting])


def check_clock(clock: Any) -> Rate:
    """A clock as a user gives it: the time of one update, or a schedule of it."""
    if callable(clock):
        return Rate(1.0, ((clock, 1),))
    number = np.asarray(clock)
    if number.ndim or number.dtype.kind not in "iuf" or not 0 < float(number) < np.inf:
        raise ValueError(f"`clock` must be a positive, finite time, that of one update, or a schedule, got {clock!r}.")
    return Rate(float(number))


def check_updates(updates: Any) -> int | None:
    """The number of updates, or none."""
    if updates is None:
        return None
    if isinstance(updates, int | np.integer) and not isinstance(updates, bool) and updates > 0:
        return int(updates)
    raise ValueError(f"`updates` must be a positive whole number, got {updates!r}.")


def check_counts(n: int | Sequence[int] | np.ndarray) -> np.ndarray:
    """Numbers of updates as an integer array."""
    counts = np.asarray(n)
    counts = counts if counts.size else counts.astype(int)
    if counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ValueError(f"`n` must be whole numbers of updates, 0 or more, got {n!r}.")
    return counts
