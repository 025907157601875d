"""The solution between saved times, un-padded."""

from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._tree import is_traced
from ._packing import Packing


class Interpolation(NamedTuple):
    """diffrax's dense output of a whole run, without its padding and without the energy ledger."""

    dense: diffrax.DenseInterpolation
    packing: Packing
    rest: tuple

    def __call__(self, t: Any) -> PyTree:
        t = jnp.asarray(t, dtype=self.dense.ts.dtype)
        if not is_traced(t):
            first, last = float(self.dense.ts[0]), float(self.dense.ts[-1])
            if not bool(np.all((np.asarray(t) >= first) & (np.asarray(t) <= last))):
                raise ValueError(f"`t` must lie within the run, between {first:g} and {last:g}, got {t}.")
        return self.packing.state(_evaluate(self.dense, t), self.rest)


@eqx.filter_jit
def _evaluate(dense, t):
    return dense.evaluate(t) if t.ndim == 0 else jax.vmap(dense.evaluate)(t)


def join(parts: list[diffrax.DenseInterpolation]) -> diffrax.DenseInterpolation:
    """One interpolant from those of the legs of a run."""
    sizes = [int(part.ts_size) - 1 for part in parts]
    ts = [np.asarray(part.ts)[: size + 1] for part, size in zip(parts, sizes, strict=True)]
    ts = np.concatenate([ts[0], *(leg[1:] for leg in ts[1:])])

    def joined(*leaves):
        return np.concatenate([np.asarray(leaf)[:size] for leaf, size in zip(leaves, sizes, strict=True)])

    infos = jax.tree.map(joined, *(part.infos for part in parts))
    whole = (jnp.asarray(ts), jnp.asarray(len(ts)), jax.tree.map(jnp.asarray, infos))
    return eqx.tree_at(lambda part: (part.ts, part.ts_size, part.infos), parts[0], whole)
