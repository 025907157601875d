"""The symmetric square root of positive semidefinite matrices, with a derivative that exists."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_jvp
def psd_sqrt(matrices: Float[Array, "N n n"]) -> Float[Array, "N n n"]:
    """`S` symmetric with `S S = H` for each matrix; eigenvalues below zero, by rounding or by fault, count as zero."""
    values, vectors = jnp.linalg.eigh(matrices)
    roots = jnp.sqrt(jnp.maximum(values, 0))
    return (vectors * roots[:, None, :]) @ jnp.swapaxes(vectors, 1, 2)


@psd_sqrt.defjvp
def _psd_sqrt_jvp(primals, tangents):
    # S dS + dS S = dH, solved in the eigenvectors of S. Differentiating them would divide by the differences of
    # eigenvalues, of which a softmax has equal ones; JAX differentiates the equation instead.
    root = psd_sqrt(*primals)

    def equation(change):
        return root @ change + change @ root

    def solve(_, right):
        values, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(root))
        vectors_t = jnp.swapaxes(vectors, 1, 2)
        sums = values[:, :, None] + values[:, None, :]
        floor = jnp.finfo(values.dtype).eps ** 0.5 * jnp.max(values, axis=1)[:, None, None]
        turned = vectors_t @ right @ vectors
        return vectors @ jnp.where(sums > floor, turned / jnp.where(sums > floor, sums, 1), 0) @ vectors_t

    return root, jax.lax.custom_linear_solve(equation, tangents[0], solve, symmetric=True)
