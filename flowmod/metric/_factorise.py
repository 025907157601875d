"""A metric factored once at a state, for the many solves that a Krylov method or a rate takes there."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import lineax as lx
from jax.scipy.linalg import cho_solve

from .._tree import floats, ravel, unraveler
from .._typing import Args, Covector, State, Vector
from ._base import AbstractMetric
from ._matrix import asymmetry, tolerance

_MATRICES = (lx.MatrixLinearOperator, lx.PyTreeLinearOperator)


def inverse_at(metric: AbstractMetric, y: State, args: Args = None) -> Callable[[Covector], Vector]:
    """`covector -> M(y)^-1 covector`, factored once: what `sharp` gives, for many covectors at one state.

    A metric whose operator knows a factorisation of its own offers it as `operator.factorise()`, a function of the
    same kind. Else diagonal operators are divided by, matrices factored by Cholesky, and what lineax solves by
    iteration is solved so each time.

    Args:
        metric: the metric; a moving one at its time, `metric.at(t)`.
        y: the state.
        args: handed to the metric.

    Returns:
        A function of trees like the float leaves of `y`. It gives NaN where the matrix is no metric.
    """
    operator = metric(y, args)
    factorise = getattr(operator, "factorise", None)
    if factorise is not None:
        return factorise()
    if lx.is_diagonal(operator):
        return _diagonal_inverse(operator, y)
    if isinstance(operator, _MATRICES):
        return _matrix_inverse(operator, y)
    solver = lx.AutoLinearSolver(well_posed=True)
    state = solver.init(operator, {})
    return lambda covector: lx.linear_solve(operator, floats(covector), solver, state=state, throw=False).value


def _diagonal_inverse(operator: lx.AbstractLinearOperator, y: State) -> Callable[[Covector], Vector]:
    # A weight that is not positive would give a finite, wrong vector.
    weights = lx.diagonal(operator)
    weights = unraveler(y)(jnp.where(weights > 0, weights, jnp.nan))
    return lambda covector: jax.tree.map(lambda d, g: g / d, weights, floats(covector))


def _matrix_inverse(operator: lx.AbstractLinearOperator, y: State) -> Callable[[Covector], Vector]:
    # As in `matrix_sharp`: Cholesky reads one triangle, and a matrix that is not symmetric would pass as another one.
    matrix = operator.as_matrix()
    symmetric = asymmetry(matrix) <= tolerance(matrix.dtype)
    factor = jnp.linalg.cholesky(jnp.where(symmetric, (matrix + matrix.T) / 2, jnp.nan))
    unravel = unraveler(y)
    return lambda covector: unravel(cho_solve((factor, True), ravel(covector).astype(matrix.dtype)))
