"""What the metrics that form their matrix have in common."""

import abc
from typing import ClassVar, Self

import lineax as lx
from jaxtyping import Array, Float

from .._typing import Args, Covector, State, Vector
from ._base import AbstractMetric
from ._matrix import matrix_flat, matrix_operator, matrix_sharp, require_positive_definite


class AbstractMatrixMetric(AbstractMetric):
    """A metric that forms its (n, n) matrix: `sharp` costs one Cholesky factorisation, n^3/3.

    Attributes:
        source: what the matrix is called in an error.
    """

    source: ClassVar[str]

    @abc.abstractmethod
    def matrix(self, y: State, args: Args = None) -> Float[Array, "n n"]:
        """The matrix in `ravel_pytree` order; its shape is checked, its entries are not."""

    def __call__(self, y: State, args: Args = None) -> lx.AbstractLinearOperator:
        return matrix_operator(self._checked(y, args), y)

    def flat(self, y: State, vector: Vector, args: Args = None) -> Covector:
        return matrix_flat(self._checked(y, args), y, vector)

    def sharp(self, y: State, covector: Covector, args: Args = None) -> Vector:
        return matrix_sharp(self._checked(y, args), y, covector)

    def at(self, t) -> Self:
        return self

    def _checked(self, y: State, args: Args) -> Float[Array, "n n"]:
        matrix = self.matrix(y, args)
        require_positive_definite(self.source, matrix)
        return matrix
