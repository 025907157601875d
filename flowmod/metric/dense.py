"""A metric given by a function that returns its full matrix."""

from collections.abc import Callable

import lineax as lx
from jaxtyping import Array, Float

from .._tree import as_float, require_arguments
from .._typing import Args, Covector, State, Vector
from ._base import AbstractMetric
from ._matrix import matrix_flat, matrix_operator, matrix_sharp, require_positive_definite, require_square, state_size


class DenseMetric(AbstractMetric):
    """A state-dependent metric with a full matrix: for states of up to a few hundred numbers.

    `sharp` costs one Cholesky factorisation, n^3/3. Use `DiagonalMetric` where the matrix is diagonal, and a
    structured metric where n is large.

    Args:
        fn: `fn(y, args)` returns the (n, n) matrix in `ravel_pytree` order, symmetric positive definite.

    Raises:
        ValueError: when called at a concrete state where the matrix is not square, symmetric, positive definite.

    Example:
        ```python
        metric = fm.DenseMetric(lambda y, args: jnp.array([[1 + y[0] ** 2, 0.3], [0.3, 2.0]]))
        ```
    """

    fn: Callable

    def __check_init__(self):
        require_arguments("fn", self.fn, ("y", "args"))

    def matrix(self, y: State, args: Args = None) -> Float[Array, "n n"]:
        """The matrix as `fn` gives it; its shape is checked, its entries are not."""
        matrix = as_float(self.fn(y, args))
        require_square("fn(y, args)", matrix, state_size(y))
        return matrix

    def __call__(self, y: State, args: Args = None) -> lx.AbstractLinearOperator:
        matrix = self.matrix(y, args)
        require_positive_definite("fn(y, args)", matrix)
        return matrix_operator(matrix, y)

    def flat(self, y: State, vector: Vector, args: Args = None) -> Covector:
        matrix = self.matrix(y, args)
        require_positive_definite("fn(y, args)", matrix)
        return matrix_flat(matrix, y, vector)

    def sharp(self, y: State, covector: Covector, args: Args = None) -> Vector:
        matrix = self.matrix(y, args)
        require_positive_definite("fn(y, args)", matrix)
        return matrix_sharp(matrix, y, covector)

    def at(self, t) -> "DenseMetric":
        return self
