"""A window of batches: a metric from the row factors of the last ones, for gradients of one."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..._tree import dtype_of
from ..._typing import Args, State
from ...linalg import AbstractRows, Covector, first_samples, held, stacked
from ...metric import AbstractModularMetric, SubsetMetric

Factors = tuple[AbstractRows, ...]


class Window(eqx.Module):
    """The row factors of the last batches as those of one metric: batch `i` before this one has the weight `decay^i`.

    The weights add up to one, over the batches that there have been. Old factors stay those of the parameters at which
    they were made, so that the metric has a memory: it depends on time and is that of an optimizer, not of a flow. In
    continuous time such a metric `M(y, t)` enters the contraction rate by its explicit derivative, and the energy
    ledger not at all.

    Args:
        batches: how many batches, from 2.
        example: `args` of the size of every batch, whose values do not matter; `None` for a problem with data.
        decay: the weight of a batch relative to the next one, above 0 and at most 1.

    Raises:
        ValueError: if `batches` or `decay` is out of range.
    """

    batches: int = eqx.field(static=True)
    example: Args = None
    decay: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        is_whole = isinstance(self.batches, int | np.integer) and not isinstance(self.batches, bool)
        if not is_whole or self.batches < 2:
            raise ValueError(f"`batches` must be a whole number from 2, got {self.batches!r}: leave out a window of 1.")
        is_number = isinstance(self.decay, int | float) and not isinstance(self.decay, bool)
        if not is_number or not 0 < self.decay <= 1:
            raise ValueError(f"`decay` must be a number above 0 and at most 1, got {self.decay!r}.")

    def empty(self, metric: AbstractModularMetric | SubsetMetric, params: State) -> Factors:
        """Zeros in the places of the factors of all batches but one."""

        def past(params):
            now = tuple(map(held, metric.factors(params, self.example)))
            return tuple(stacked([factor] * (self.batches - 1)) for factor in now)

        shapes = eqx.filter_eval_shape(past, params)
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def joined(
        self, past: Factors, now: Factors, covector: Covector, count: Int[Array, ""]
    ) -> tuple[Factors, Covector, Factors]:
        """The factors of the window, a covector of this batch in their rows, and the factors to keep.

        Args:
            past: the factors of the batches before, decayed.
            now: those of this batch.
            covector: a covector whose residual belongs to this batch.
            count: how many batches there have been before.

        Raises:
            ValueError: if the batch has another size than the example.
        """
        fading = math.sqrt(self.decay)
        now = tuple(map(held, now))
        self._check(past, now)
        whole = tuple(stacked([new, _times(old, fading)]) for new, old in zip(now, past, strict=True))
        kept = tuple(first_samples(rows, old.row_shape[-2]) for rows, old in zip(whole, past, strict=True))
        weight = self._weight(count, dtype_of(covector.whole))
        factors = tuple(_times(rows, jnp.sqrt(weight)) for rows in whole)
        return factors, self._padded(covector, weight), kept

    def _weight(self, count: Int[Array, ""], dtype: Any) -> Float[Array, ""]:
        """That of this batch: one over the sum of the relative weights."""
        ages = np.arange(self.batches)
        relative = jnp.where(ages.astype(count.dtype) <= count, jnp.asarray(self.decay**ages, dtype), 0)
        return 1 / jnp.sum(relative)

    def _padded(self, covector: Covector, weight: Float[Array, ""]) -> Covector:
        """The residual in the rows of the window: none for the batches before."""
        residual = covector.residual
        if residual is None:
            return covector
        others = jnp.zeros(((self.batches - 1) * residual.shape[0], *residual.shape[1:]), residual.dtype)
        scale = jnp.sqrt(weight).astype(residual.dtype)
        return Covector(covector.whole, covector.rest, jnp.concatenate([residual, others]) / scale)

    def _check(self, past: Factors, now: Factors) -> None:
        for old, new in zip(past, now, strict=True):
            kept, samples = old.row_shape[-2], new.row_shape[-2]
            if kept != (self.batches - 1) * samples:
                raise ValueError(
                    f"`args` must be a batch of as many samples as the window's `example`, "
                    f"{kept // (self.batches - 1)}, got {samples}."
                )


def _times(rows: AbstractRows, number: Any) -> AbstractRows:
    return rows.scaled(jnp.asarray(number).astype(dtype_of(rows)))
