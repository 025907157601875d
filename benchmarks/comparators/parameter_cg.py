"""The layerwise update by conjugate gradients on the side of the parameters, from JAX's own products and solver."""

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from benchmarks.comparators.plain import mean_loss, outputs_of


def parameter_cg_update(weights, inputs, targets, mass, tolerance=1e-8):
    """`-(mass + K_a^T K_a)^-1 g_a` of each layer, `K_a^T K_a v = J_a^T H J_a v` by `linearize` and its transpose."""
    gradient = jax.grad(mean_loss)(weights, inputs, targets)
    n = inputs.shape[0]
    updates = []
    for index, slope in enumerate(gradient):

        def outputs(layer, index=index):
            return outputs_of([*weights[:index], layer, *weights[index + 1 :]], inputs)

        values, push = jax.linearize(outputs, weights[index])
        pull = jax.linear_transpose(push, weights[index])
        p = jax.nn.softmax(values)

        def product(vector, push=push, pull=pull, p=p):
            moved = push(vector)
            if jnp.issubdtype(targets.dtype, jnp.integer):
                moved = p * (moved - jnp.sum(p * moved, axis=1, keepdims=True))
            return jax.tree.map(lambda back, v: back / n + mass * v, pull(moved)[0], vector)

        updates.append(jax.tree.map(jnp.negative, cg(product, slope, tol=tolerance, maxiter=1000)[0]))
    return updates
