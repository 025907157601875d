"""Factorisations one after the other: what runs at the same time can block both threads of XLA's pool.

On a machine with two cores factorisations that are batched, or do not wait for each other, can each wait for the
other's parts: for ever. So each gets a zero that only the one before can tell.
"""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float

Token = Float[Array, ""] | float
"""A zero that is known when something is done."""


def token(done: Array) -> Token:
    """A zero that is not known before `done` is, whatever is in it."""
    # The compiler must not see that it is zero, and a fault of one block must not become that of all.
    return jax.lax.stop_gradient(0 * jnp.nan_to_num(done.ravel()[0]))


def cholesky(matrix: Float[Array, "*L n n"], after: Token = 0.0) -> Float[Array, "*L n n"]:
    """The lower Cholesky factor of a matrix, or of each of a stack."""
    if matrix.ndim == 3:
        return jax.lax.map(lambda one: jnp.linalg.cholesky(one + after), matrix)
    return jnp.linalg.cholesky(matrix + after)


def solve_lower(lower: Float[Array, "*L n n"], right: Float[Array, "..."]) -> Float[Array, "..."]:
    """`(lower lower^T)^-1 right`, layer by layer for a stack; in the shape of `right`."""
    if lower.ndim == 3:
        flat = right.reshape(lower.shape[0], -1)
        return jax.lax.map(lambda pair: cho_solve((pair[0], True), pair[1]), (lower, flat)).reshape(right.shape)
    return cho_solve((lower, True), right.ravel()).reshape(right.shape)
