"""The lineax operator `D + K^T K`, which is never formed, and a lineax solver for it.

It stands on its own: a diagonal and a row factor are all it needs.
"""

from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float

from .blocks import Part
from .in_turn import cholesky
from .lineax_rules import symmetric_positive
from .psd_sqrt import psd_sqrt
from .rows import AbstractRows
from .sides import (
    AbstractSide,
    ParameterSide,
    Residual,
    RowSide,
    divide,
    inner_matrix,
    matrices_by_layer,
    product,
    smaller_side,
    solve_in_turn,
)

_PRODUCTS = 20
"""Of the power iteration for a condition number: right to some percent, which is all it is read for."""


class DiagonalPlusGram(lx.AbstractLinearOperator):
    """`D + K^T K`, with `D` diagonal and positive and `K` a row factor: symmetric positive definite.

    Vectors are tuples of arrays, one for each leaf of the factor. Products, solves, determinant and square root take
    the factor's products and its Gram matrix only; `as_matrix` alone forms it.

    Attributes:
        rows: `K`, any row factor of `flowmod.linalg`; `DenseRows` holds a matrix.
        diagonal: the diagonal of `D`: for each leaf a positive scalar or an array that broadcasts to it.

    Example:
        ```python
        K = DenseRows(matrix[:, None, :], ((matrix.shape[1],),))  # one row for each sample
        M = DiagonalPlusGram(K, (d,))
        lx.linear_solve(M, (g,), Woodbury()).value  # or M.solve((g,))
        ```
    """

    rows: AbstractRows
    diagonal: Part

    def mv(self, vector: Part) -> Part:
        return product(self.rows, self.diagonal, vector)

    def as_matrix(self) -> Float[Array, "P P"]:
        matrices = jnp.atleast_3d(matrices_by_layer(self.rows, self.diagonal).T).T
        dense = jnp.zeros((self.rows.columns, self.rows.columns), matrices.dtype)
        for place, matrix in zip(self.rows.places, matrices, strict=True):
            dense = dense.at[place[:, None], place[None, :]].set(matrix)
        return dense

    def factorise(self) -> AbstractSide:
        """A Cholesky factorisation on the side with the smaller matrix."""
        side = RowSide if smaller_side(self.rows, self.diagonal) == "rows" else ParameterSide
        return side.of(self.rows, self.diagonal)

    def solve(self, covector: Part, residual: Residual = None) -> Part:
        """`(D + K^T K)^-1 (covector + K^T residual)`; a derivative costs one more solve.

        What lies in the range of `K^T` keeps its digits for a small `D` if it is given by its coordinates `residual`,
        of the factor's `row_shape`.
        """
        return solve_in_turn((self.factorise(),), (covector,), residual)[0]

    def logdet(self) -> Float[Array, ""]:
        """`log det D + log det(I + K D^-1 K^T)`."""
        lower = cholesky(inner_matrix(self.rows, self.diagonal))
        diagonal = sum(
            jnp.sum(jnp.broadcast_to(jnp.log(entry), shape))
            for entry, shape in zip(self.diagonal, self.rows.shapes, strict=True)
        )
        return diagonal + 2 * jnp.sum(jnp.log(jnp.diagonal(lower, axis1=-2, axis2=-1)))

    def condition(self) -> Float[Array, ""]:
        """An estimate, from below, of `1 + |K D^-1 K^T|`: the condition number of `D^-1/2 (D + K^T K) D^-1/2`.

        That is what rounding and conjugate gradients see. It is exact, but for the estimate, where `K` has fewer rows
        than columns, and an upper bound elsewhere.
        """

        def step(vector, _):
            grown = self.rows.mv(divide(self.rows.rmv(vector), self.diagonal))
            size = jnp.linalg.norm(grown)
            return grown / jnp.where(size > 0, size, 1), size

        start = jax.random.normal(jax.random.key(0), self.rows.row_shape, self.dtype)
        _, sizes = jax.lax.scan(step, start / jnp.linalg.norm(start), length=_PRODUCTS)
        return 1 + sizes[-1]

    def sqrt_mv(self, vector: Part) -> Part:
        """`S vector` with `S S^T = D + K^T K`; the symmetric square root where `D` is a multiple of the identity."""
        _, root = self._inner_root()
        scaled = self._back(vector, root + jnp.eye(len(root), dtype=root.dtype))
        return tuple((v + s) * jnp.sqrt(d) for v, s, d in zip(vector, scaled, self.diagonal, strict=True))

    def inv_sqrt_mv(self, vector: Part) -> Part:
        """`S^-T vector`: white noise through it has the covariance `(D + K^T K)^-1`."""
        gram, root = self._inner_root()
        scaled = self._back(vector, root + gram + jnp.eye(len(root), dtype=root.dtype))
        return tuple((v - s) / jnp.sqrt(d) for v, s, d in zip(vector, scaled, self.diagonal, strict=True))

    def _inner_root(self) -> tuple[Array, Array]:
        gram = self.rows.gram(self.diagonal)
        if gram.ndim == 3:
            raise ValueError("`sqrt_mv` takes one layer at a time: map over the layers of a repeated factor.")
        return gram, psd_sqrt((gram + jnp.eye(len(gram), dtype=gram.dtype))[None])[0]

    def _back(self, vector: Part, middle: Float[Array, "R R"]) -> Part:
        """`U^T middle^-1 U vector` with `U = K D^-1/2`."""
        roots = tuple(jnp.sqrt(entry) for entry in self.diagonal)
        rows = self.rows.mv(divide(vector, roots))
        solved = cho_solve((cholesky(middle), True), rows.ravel()).reshape(rows.shape)
        return divide(self.rows.rmv(solved), roots)

    @property
    def dtype(self):
        """The precision of a product."""
        return jax.eval_shape(self.rows.rmv, jnp.zeros(self.rows.row_shape, jnp.result_type(*self.diagonal)))[0].dtype

    def transpose(self) -> "DiagonalPlusGram":
        return self

    def in_structure(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        return tuple(jax.ShapeDtypeStruct(shape, self.dtype) for shape in self.rows.shapes)

    def out_structure(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        return self.in_structure()


symmetric_positive(DiagonalPlusGram)


class Woodbury(lx.AbstractLinearSolver):
    """A lineax solver for `DiagonalPlusGram`: one Cholesky factorisation on the side with the smaller matrix.

    `lineax.linear_solve` differentiates it implicitly; its state can be kept for other vectors.

    Raises:
        ValueError: for another operator.
    """

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> AbstractSide:
        if not isinstance(operator, DiagonalPlusGram):
            raise ValueError(
                f"`Woodbury` solves `DiagonalPlusGram` operators, got {type(operator).__name__}: use "
                "`lineax.AutoLinearSolver` for others."
            )
        return operator.factorise()

    def compute(self, state: AbstractSide, vector: Part, options: dict[str, Any]) -> tuple[Part, lx.RESULTS, dict]:
        return state.value(state.solve(state.right(vector, None), 0.0)), lx.RESULTS.successful, {}

    def transpose(self, state: AbstractSide, options: dict[str, Any]) -> tuple[AbstractSide, dict[str, Any]]:
        return state, options

    def conj(self, state: AbstractSide, options: dict[str, Any]) -> tuple[AbstractSide, dict[str, Any]]:
        return state, options

    def assume_full_rank(self) -> bool:
        return True
