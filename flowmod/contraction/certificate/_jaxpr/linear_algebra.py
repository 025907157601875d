"""Factorisations and triangular solves, by their textbook algorithms on scalars."""

import numpy as np

from . import arrays
from .rules import Symbolic, require_double, rule_for


@rule_for("cholesky")
def _cholesky(translator, eqn, values):
    require_double(eqn)
    matrix = translator.nodes(values[0])
    return Symbolic(arrays.batched(lambda a: arrays.cholesky(translator.builder, a), matrix))


@rule_for("lu")
def _lu(translator, eqn, values):
    # Rows keep their places: which one is the largest depends on the state, and the solution of a system does not
    # depend on the order. A pivot that may be zero makes the result undefined, so nothing wrong is proved.
    require_double(eqn)
    factors = arrays.batched(lambda a: arrays.lu(translator.builder, a), translator.nodes(values[0]))
    return [Symbolic(factors), *(_in_place(var.aval.shape) for var in eqn.outvars[1:])]


@rule_for("lu_pivots_to_permutation")
def _permutation(translator, eqn, values):
    return _in_place(eqn.outvars[0].aval.shape)


def _in_place(shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(np.arange(shape[-1], dtype=np.int32), shape)


@rule_for("triangular_solve")
def _triangular_solve(translator, eqn, values):
    require_double(eqn)
    matrix, right = map(translator.nodes, values)
    lower, unit = eqn.params["lower"], eqn.params["unit_diagonal"]
    if eqn.params["transpose_a"]:
        matrix, lower = matrix.swapaxes(-1, -2), not lower
    if not eqn.params["left_side"]:  # X A = B is A^T X^T = B^T
        matrix, right, lower = matrix.swapaxes(-1, -2), right.swapaxes(-1, -2), not lower

    def solve(a, b):
        return arrays.triangular_solve(translator.builder, a, b, lower, unit)

    result = arrays.batched(solve, matrix, right)
    return Symbolic(result if eqn.params["left_side"] else result.swapaxes(-1, -2))
