"""The operator whose inverse is the mean over samples of `(D + K_n^T K_n)^-1`."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, PyTree

from .._tree import floats
from .blocks import Blocks, Parts
from .conjugate_gradients import Solution, conjugate_gradients
from .layered import Covector
from .lineax_rules import symmetric_positive
from .rows import AbstractRows
from .sides import divide


class PerSampleOperator(lx.AbstractLinearOperator):
    """The harmonic mean over samples of `D + K_n^T K_n`, by blocks: its inverse is cheap, a product is a solve.

    The inverse factorises a matrix of `C` rows for each sample, and none that couples samples.

    Attributes:
        factors: the factor of each block, whose `N` samples are scaled by `1/sqrt N`.
        mass: the diagonal of `D` by block and leaf.
        blocks: which leaves form a block.
        like: the float leaves of a state, or their shapes.
        tolerance: the relative residual of a product.
    """

    factors: tuple[AbstractRows, ...]
    mass: Parts
    blocks: Blocks = eqx.field(static=True)
    like: PyTree
    tolerance: Any

    def factorise(self) -> Callable[[PyTree], PyTree]:
        """`covector -> M^-1 covector`."""
        inverse = self._inverse()
        return lambda covector: self.blocks.join(inverse(self.blocks.split(covector)), self.like)

    def solve(self, covector: Covector) -> Solution:
        """`M^-1 covector`, with no residual: it is a product."""
        value = self.factorise()(covector.whole)
        count = len(self.factors)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(value)]))
        return Solution(value, jnp.zeros(count, self._dtype), finite, jnp.zeros(count, int))

    def mv(self, vector: PyTree) -> PyTree:
        parts = self.blocks.split(vector)
        inverse = self._inverse()
        by_mass = lambda parts: tuple(  # noqa: E731
            tuple(m * v for m, v in zip(masses, part, strict=True))
            for masses, part in zip(self.mass, parts, strict=True)
        )
        solution = conjugate_gradients(inverse, parts, self.tolerance, by_mass)
        fault = jnp.where(solution.converged, 1, jnp.nan).astype(self._dtype)
        return self.blocks.join(jax.tree.map(lambda leaf: fault * leaf, solution.value), self.like)

    def _inverse(self) -> Callable[[Parts], Parts]:
        """`M^-1 = D^-1 - D^-1 K^T W K D^-1`, with `W` the inverses of `I + K_n D^-1 K_n^T` sample by sample."""
        n = self.factors[0].row_shape[-2]
        grams = [n * factor.sample_grams(mass) for factor, mass in zip(self.factors, self.mass, strict=True)]
        # All layers in one batch: several batches at a time can block each other.
        stacked = jnp.concatenate([gram.reshape(-1, *gram.shape[-2:]) for gram in grams])
        identity = jnp.broadcast_to(jnp.eye(stacked.shape[-1], dtype=stacked.dtype), stacked.shape)
        lower = jnp.linalg.cholesky(identity + stacked)
        half = jax.lax.linalg.triangular_solve(lower, identity, left_side=True, lower=True)
        weights = jnp.swapaxes(half, -1, -2) @ half

        def apply(parts: Parts) -> Parts:
            steps, start = [], 0
            for factor, mass, part in zip(self.factors, self.mass, parts, strict=True):
                base = divide(part, mass)
                shape = factor.row_shape
                own = weights[start : start + factor.count // shape[-1]].reshape(*shape, shape[-1])
                start += factor.count // shape[-1]
                pushed = jnp.einsum("...ce,...e->...c", own, factor.mv(base))
                back = divide(factor.rmv(pushed), mass)
                steps.append(tuple(b - s for b, s in zip(base, back, strict=True)))
            return tuple(steps)

        return apply

    @property
    def _dtype(self):
        return jax.tree.leaves(floats(self.like))[0].dtype

    def as_matrix(self) -> Float[Array, "P P"]:
        basis = lx.materialise(lx.FunctionLinearOperator(self.mv, self.in_structure(), lx.symmetric_tag))
        return basis.as_matrix()

    def transpose(self) -> "PerSampleOperator":
        return self

    def in_structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return jax.eval_shape(lambda: floats(self.like))

    def out_structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return self.in_structure()


symmetric_positive(PerSampleOperator)
