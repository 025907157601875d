"""A module's linearisation against the Jacobian of its call, sample by sample."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from flowmod.linalg import JoinedRows, blocks_of


def check_linearisation(module, inputs, atol=1e-12):
    """Outputs, what comes back at the inputs, and the factor of each block; returns the factors."""
    outputs, costates, factors, rows, back = ours(module, inputs)
    np.testing.assert_allclose(outputs, jax.vmap(module)(inputs), rtol=0, atol=atol)
    if back is not None:
        assert back.dtype == outputs.dtype
    expected, by_input = reference(module, inputs, costates)
    np.testing.assert_allclose(rows, expected, rtol=0, atol=atol)
    if by_input is not None:
        np.testing.assert_allclose(back, by_input, rtol=0, atol=atol)
    return factors


@eqx.filter_jit
def ours(module, inputs):
    outputs, pull = module.linearise(inputs)
    size = outputs[:, None].repeat(2, axis=1).size
    costates = jnp.cos(jnp.arange(1.0, 1 + size)).reshape(len(inputs), 2, *outputs.shape[1:]).astype(outputs.dtype)
    factors, back = pull(costates)
    rows = JoinedRows(factors).to_dense() if factors else jnp.zeros((2 * len(inputs), 0))
    return outputs, costates, arrays_of(factors), rows, back if eqx.is_inexact_array(back) else None


def arrays_of(factors):
    """What of the factors can leave a compiled function."""
    return tuple(factor if all(map(eqx.is_array, jax.tree.leaves(factor))) else None for factor in factors)


def reference(module, inputs, costates):
    """The rows of all blocks side by side, and the costates at the inputs, from `jax.jacrev`."""
    leaves, rest = eqx.partition(module, eqx.is_inexact_array)
    blocks = blocks_of(leaves)

    def call(leaves, z):
        return eqx.combine(leaves, rest)(z)

    whole = not jnp.issubdtype(inputs.dtype, jnp.inexact)
    jacobian = jax.jit(jax.vmap(jax.jacrev(call, argnums=0 if whole else (0, 1)), (None, 0)))(leaves, inputs)
    by_leaf, by_input = (jacobian, None) if whole else jacobian
    count = costates[0, 0].size
    flat = np.asarray(costates).reshape(len(inputs), 2, count)

    def pulled(derivative):
        return np.einsum("nco,nop->ncp", flat, np.asarray(derivative).reshape(len(inputs), count, -1))

    order = [leaf for part in blocks.split(by_leaf) for leaf in part]
    rows = np.concatenate([np.zeros((len(inputs), 2, 0)), *map(pulled, order)], axis=2)
    back = None if whole else pulled(by_input).reshape(len(inputs), 2, *inputs.shape[1:])
    return rows.reshape(2 * len(inputs), -1), back
