"""What lineax asks of an operator that is real, symmetric and positive definite."""

import jax.numpy as jnp
import lineax as lx


def symmetric_positive(operator_class: type[lx.AbstractLinearOperator]) -> None:
    """Answer lineax's questions about an operator of ours; it gives its matrix by `as_matrix`."""
    for yes in (lx.is_symmetric, lx.is_positive_semidefinite):
        yes.register(operator_class)(lambda operator: True)
    for no in (
        lx.is_diagonal,
        lx.is_tridiagonal,
        lx.has_unit_diagonal,
        lx.is_lower_triangular,
        lx.is_upper_triangular,
        lx.is_negative_semidefinite,
    ):
        no.register(operator_class)(lambda operator: False)
    for same in (lx.linearise, lx.materialise, lx.conj):
        same.register(operator_class)(lambda operator: operator)
    lx.diagonal.register(operator_class)(lambda operator: jnp.diag(operator.as_matrix()))
