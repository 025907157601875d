"""How exactly an inner solve is done: as exactly as the integrator around it needs, unless the user says."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

SHARE = 0.01
"""Of the integrator's relative tolerance: at a tenth, its error estimate sees the solver's noise and rejects steps."""


class InnerTolerance(eqx.Module):
    """The relative residual of an inner solve; `simulate` fills in what was left open."""

    value: Any = None

    def at(self, dtype: np.dtype) -> Any:
        """The number; outside of a run what a few more digits than the root of the precision are: 1e-11, or 1e-5.

        Never below rounding: nothing would converge.
        """
        eps = float(jnp.finfo(dtype).eps)
        return eps**0.7 if self.value is None else jnp.maximum(self.value, 4 * eps)


def follow(tree: PyTree, rtol: Any) -> PyTree:
    """`tree` with all its open inner tolerances set to what an integrator with this relative tolerance needs."""

    def fill(node):
        return InnerTolerance(rtol * SHARE) if isinstance(node, InnerTolerance) and node.value is None else node

    return jax.tree.map(fill, tree, is_leaf=lambda node: isinstance(node, InnerTolerance))
