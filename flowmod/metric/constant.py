"""A metric that is the same at every state."""

from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx

from .._tree import floats
from .._typing import Args, Covector, State, Vector
from ._base import AbstractMetric
from ._matrix import matrix_flat, matrix_operator, matrix_sharp, require_positive_definite, require_square, state_size

_CHECKED = 1000
"""Numbers of the state up to which an operator is formed once to check what its tag says."""


class ConstantMetric(AbstractMetric):
    """A constant inner product: flat, but not the Euclidean one.

    Args:
        matrix: an (n, n) symmetric positive definite matrix in `ravel_pytree` order, or any lineax operator in the
            structure of the state that is tagged `lineax.positive_semidefinite_tag`.

    Raises:
        ValueError: if the matrix is not square, symmetric and positive definite, or the operator lacks the tag.
    """

    matrix: Any

    def __init__(self, matrix):
        if isinstance(matrix, lx.AbstractLinearOperator):
            if not lx.is_positive_semidefinite(matrix):
                raise ValueError(
                    "`matrix` is a lineax operator without the tag `lineax.positive_semidefinite_tag`: "
                    "wrap it as `lineax.TaggedLinearOperator(operator, lineax.positive_semidefinite_tag)`."
                )
            if matrix.in_size() <= _CHECKED:
                require_positive_definite("matrix", matrix.as_matrix())
        else:
            matrix = _as_array(matrix)
            if not jnp.issubdtype(matrix.dtype, jnp.floating):
                matrix = matrix.astype(jnp.result_type(float))
            require_square("matrix", matrix, matrix.shape[0] if matrix.ndim else 1)
            require_positive_definite("matrix", matrix)
        self.matrix = matrix

    def __call__(self, y: State, args: Args = None) -> lx.AbstractLinearOperator:
        if isinstance(self.matrix, lx.AbstractLinearOperator):
            return self._operator_on(y)
        require_square("matrix", self.matrix, state_size(y))
        return matrix_operator(self.matrix, y)

    def flat(self, y: State, vector: Vector, args: Args = None) -> Covector:
        if isinstance(self.matrix, lx.AbstractLinearOperator):
            return self._operator_on(y).mv(floats(vector))
        require_square("matrix", self.matrix, state_size(y))
        return matrix_flat(self.matrix, y, vector)

    def sharp(self, y: State, covector: Covector, args: Args = None) -> Vector:
        if isinstance(self.matrix, lx.AbstractLinearOperator):
            solver = lx.AutoLinearSolver(well_posed=True)
            return lx.linear_solve(self._operator_on(y), floats(covector), solver, throw=False).value
        require_square("matrix", self.matrix, state_size(y))
        return matrix_sharp(self.matrix, y, covector)

    def at(self, t) -> "ConstantMetric":
        return self

    def _operator_on(self, y: State) -> lx.AbstractLinearOperator:
        wanted, given = jax.eval_shape(lambda: floats(y)), self.matrix.in_structure()
        if jax.tree.structure(wanted) != jax.tree.structure(given) or [x.shape for x in jax.tree.leaves(wanted)] != [
            x.shape for x in jax.tree.leaves(given)
        ]:
            raise ValueError(f"`matrix` is an operator on {given}, but the state is {wanted}: make it for this state.")
        return self.matrix


def _as_array(matrix: Any):
    try:
        array = jnp.asarray(None if isinstance(matrix, str) else matrix)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`matrix` must be a matrix or a lineax operator, got {matrix!r}.") from error
    if jnp.iscomplexobj(array) or array.size == 0:
        raise ValueError(f"`matrix` must be a real matrix with entries, got {array.dtype} of shape {array.shape}.")
    return array
