"""A metric given by a function that returns its full matrix."""

from collections.abc import Callable
from typing import ClassVar

from jaxtyping import Array, Float

from .._tree import as_float, require_arguments
from .._typing import Args, State
from ._matrix import require_square, state_size
from ._matrix_metric import AbstractMatrixMetric


class DenseMetric(AbstractMatrixMetric):
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
    source: ClassVar[str] = "fn(y, args)"

    def __check_init__(self):
        require_arguments("fn", self.fn, ("y", "args"))

    def matrix(self, y: State, args: Args = None) -> Float[Array, "n n"]:
        matrix = as_float(self.fn(y, args))
        require_square(self.source, matrix, state_size(y))
        return matrix
