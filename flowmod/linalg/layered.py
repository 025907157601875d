"""The operator `D + K^T K`, block by block, on the tree of a state."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float, PyTree

from .._tree import floats, ravel, unraveler
from .blocks import Blocks, Parts
from .conjugate_gradients import Solution, conjugate_gradients, relative_residual
from .rows import AbstractRows
from .woodbury import cholesky_in_turn, inner_factors, woodbury

_USELESS = 0.1
"""A relative residual of a factorisation beyond which its solution is none: in single precision a small mass, or a
fault of the rows."""


class LayeredOperator(lx.AbstractLinearOperator):
    """A symmetric positive definite lineax operator with the blocks `D_a + K_a^T K_a`.

    It is never formed, unless it is asked `as_matrix`. Use it in the trace in which it was made.

    Attributes:
        factors: `K_a` of each block.
        mass: the diagonal of `D_a` by block and leaf, scalars or arrays like the leaves.
        blocks: which leaves form a block.
        like: the float leaves of a state, or their shapes.
    """

    factors: tuple[AbstractRows, ...]
    mass: Parts
    blocks: Blocks = eqx.field(static=True)
    like: PyTree

    @property
    def rows(self) -> int:
        """`R`, how many rows each factor has."""
        return self.factors[0].count

    def mv(self, vector: PyTree) -> PyTree:
        return self.blocks.join(self.apply(self.blocks.split(vector)), self.like)

    def apply(self, parts: Parts) -> Parts:
        """The product by block and leaf."""

        def block(factor, mass, part):
            back = factor.rmv(factor.mv(part))
            return tuple(b + m * v for b, m, v in zip(back, mass, part, strict=True))

        return tuple(map(block, self.factors, self.mass, parts))

    def direct(self, covector: PyTree, residual: Float[Array, "N C"] | None = None) -> Solution:
        """`M^-1 (covector + K^T residual)` by a Cholesky factorisation on the side of the rows.

        Where a covector is known to lie in the range of `K^T`, as the gradient of a loss does, `residual` gives its
        coordinates: that part is exact for a small mass too.
        """
        parts = self.blocks.split(covector)
        value = self._by_rows(inner_factors(self.factors, self.mass), residual, parts)
        wanted = parts if residual is None else self.blocks.split(self.add_rows(covector, residual))
        missing = relative_residual(self.apply(value), wanted)
        return Solution(self.blocks.join(value, self.like), missing, jnp.all(missing <= _USELESS))

    def add_rows(self, covector: PyTree, rows: Float[Array, "N C"]) -> PyTree:
        """`covector + K^T rows`."""
        back = self.blocks.join(tuple(factor.rmv(rows) for factor in self.factors), self.like)
        return jax.tree.map(jnp.add, covector, back)

    def conjugate_gradients(self, covector: PyTree, tolerance: Any) -> Solution:
        """`M^-1 covector` by conjugate gradients on the side of the parameters."""
        solution = conjugate_gradients(self.apply, self.blocks.split(covector), tolerance)
        return solution._replace(value=self.blocks.join(solution.value, self.like))

    def factorise(self) -> Callable[[PyTree], PyTree]:
        """`covector -> M^-1 covector` with the factorisations done once, on the smaller side."""
        if self.rows <= max(map(len, self.blocks.places(self.like))):
            inner = inner_factors(self.factors, self.mass)
            return lambda covector: self.blocks.join(self._by_rows(inner, None, self.blocks.split(covector)), self.like)
        lowers = cholesky_in_turn(self._matrices())
        places = self.blocks.places(self.like)
        unravel = unraveler(self.like)

        def solve(covector):
            flat = ravel(covector)
            for place, lower in zip(places, lowers, strict=True):
                flat = flat.at[place].set(cho_solve((lower, True), flat[place]))
            return unravel(flat)

        return solve

    def as_matrix(self) -> Float[Array, "P P"]:
        places = self.blocks.places(self.like)
        n = sum(map(len, places))
        matrices = self._matrices()
        dense = jnp.zeros((n, n), matrices[0].dtype)
        for place, matrix in zip(places, matrices, strict=True):
            dense = dense.at[place[:, None], place[None, :]].set(matrix)
        return dense

    def _matrices(self) -> list[Float[Array, "P P"]]:
        leaves = self.blocks.split(self.like)
        matrices = []
        for factor, masses, shaped in zip(self.factors, self.mass, leaves, strict=True):
            entries = [jnp.broadcast_to(mass, leaf.shape).ravel() for mass, leaf in zip(masses, shaped, strict=True)]
            matrices.append(factor.normal() + jnp.diag(jnp.concatenate(entries)))
        return matrices

    def _by_rows(self, lowers: list[Float[Array, "R R"]], residual: Any, parts: Parts) -> Parts:
        return woodbury(self.factors, self.mass, lowers, residual, parts)

    def transpose(self) -> "LayeredOperator":
        return self

    def in_structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return jax.eval_shape(lambda: floats(self.like))

    def out_structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return self.in_structure()


# What lineax asks of an operator.
lx.materialise.register(LayeredOperator)(lambda operator: operator)
for _yes in (lx.is_symmetric, lx.is_positive_semidefinite):
    _yes.register(LayeredOperator)(lambda operator: True)
for _no in (
    lx.is_diagonal,
    lx.is_tridiagonal,
    lx.has_unit_diagonal,
    lx.is_lower_triangular,
    lx.is_upper_triangular,
    lx.is_negative_semidefinite,
):
    _no.register(LayeredOperator)(lambda operator: False)
lx.linearise.register(LayeredOperator)(lambda operator: operator)
lx.conj.register(LayeredOperator)(lambda operator: operator)
lx.diagonal.register(LayeredOperator)(lambda operator: jnp.diag(operator.as_matrix()))
