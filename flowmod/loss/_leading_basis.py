"""Eigenvectors in two sets, the leading ones and the others, with a derivative where only the sets are distinct."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def leading_basis(matrices: Float[Array, "N n n"], count: int) -> Float[Array, "N n n"]:
    """An orthogonal basis for each symmetric matrix: in the first `count` columns of its leading invariant subspace.

    The derivative turns the two subspaces and nothing within them, so that equal eigenvalues do no harm unless they
    stand on both sides of the cut; what they would turn is held.
    """
    del count
    return jnp.linalg.eigh(matrices)[1][:, :, ::-1]


@leading_basis.defjvp
def _leading_basis_jvp(count, primals, tangents):
    # With V = [U, W] and dU = W X^T, dW = -U X the product U^T A W stays zero: U^T A U X - X W^T A W = U^T dA W.
    # JAX differentiates this equation, as in the square root of a matrix.
    basis = leading_basis(*primals, count)
    leading, others = basis[:, :, :count], basis[:, :, count:]

    def within(left, matrices, right):
        return jnp.swapaxes(left, 1, 2) @ matrices @ right

    upper, lower = within(leading, primals[0], leading), within(others, primals[0], others)

    def solve(_, right):
        high, low = (jax.lax.stop_gradient(jnp.diagonal(block, axis1=1, axis2=2)) for block in (upper, lower))
        gaps = high[:, :, None] - low[:, None, :]
        floor = jnp.finfo(gaps.dtype).eps ** 0.5 * jnp.max(jnp.abs(high), axis=1)[:, None, None]
        return jnp.where(gaps > floor, right / jnp.where(gaps > floor, gaps, 1), 0)

    right = within(leading, tangents[0], others)
    turn = jax.lax.custom_linear_solve(lambda x: upper @ x - x @ lower, right, solve, symmetric=True)
    return basis, jnp.concatenate([others @ jnp.swapaxes(turn, 1, 2), -leading @ turn], axis=2)
