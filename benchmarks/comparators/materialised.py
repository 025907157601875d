"""The layerwise update with its row factors formed: `K_a`, one row for each output of each sample."""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve

from benchmarks.comparators.plain import mean_loss


def row_factors(weights, inputs, targets):
    """`K_a`, (N C, P_a) with `W` raveled before `b`, of each layer by the chain rule, scaled by `1/sqrt N`."""
    activations = [inputs]
    for weight, bias in weights[:-1]:
        activations.append(jnp.tanh(activations[-1] @ weight + bias))
    outputs = activations[-1] @ weights[-1][0] + weights[-1][1]
    n = inputs.shape[0]
    costates = _output_factors(outputs, targets) * n**-0.5
    factors = []
    for (weight, _), activation in zip(reversed(weights), reversed(activations), strict=True):
        rows = (activation[:, None, :, None] * costates[:, :, None, :]).reshape(-1, weight.size)
        factors.append(jnp.concatenate([rows, costates.reshape(-1, weight.shape[1])], axis=1))
        costates = (costates @ weight.T) * (1 - activation**2)[:, None, :]
    return factors[::-1]


def _output_factors(outputs, targets):
    n, c = outputs.shape
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        return jnp.broadcast_to(jnp.eye(c, dtype=outputs.dtype), (n, c, c))
    p = jax.nn.softmax(outputs)
    return jnp.sqrt(p)[:, :, None] * (jnp.eye(c, dtype=p.dtype) - p[:, None, :])


def materialised_update(weights, inputs, targets, mass):
    """`-(mass + K_a^T K_a)^-1 g_a` of each layer by Woodbury's identity, as one flat vector a layer."""
    gradient = jax.grad(mean_loss)(weights, inputs, targets)
    flat = [jnp.concatenate([weight.ravel(), bias]) for weight, bias in gradient]
    updates, before = [], 0.0
    for rows, slope in zip(row_factors(weights, inputs, targets), flat, strict=True):
        # Each begins when the one before is done: independent factorisations can hang on two cores.
        inner = jnp.eye(rows.shape[0], dtype=rows.dtype) * (1 + before) + rows @ rows.T / mass
        solved = cho_solve(cho_factor(inner), rows @ slope / mass)
        updates.append(-(slope - rows.T @ solved) / mass)
        before = 0 * updates[-1][0]
    return updates


def dense_update(weights, inputs, targets, mass):
    """The same, by a Cholesky factorisation of each block `mass + K_a^T K_a` of the parameters."""
    gradient = jax.grad(mean_loss)(weights, inputs, targets)
    updates, before = [], 0.0
    for rows, (weight, bias) in zip(row_factors(weights, inputs, targets), gradient, strict=True):
        block = rows.T @ rows + jnp.eye(rows.shape[1], dtype=rows.dtype) * (mass + before)
        updates.append(-cho_solve(cho_factor(block), jnp.concatenate([weight.ravel(), bias])))
        before = 0 * updates[-1][0]
    return updates
