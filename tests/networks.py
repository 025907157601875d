"""Small networks that several tests share, and the same things computed naively: with the whole Jacobian, in NumPy."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import flowmod as fm


def tanh_network(*sizes, seed=1, scale=1.0):
    keys = jax.random.split(jax.random.key(seed), len(sizes))
    net = fm.Linear(sizes[0], sizes[1], key=keys[0])
    for a, b, key in zip(sizes[1:], sizes[2:], keys[1:], strict=False):
        net = net >> fm.Pointwise(jnp.tanh) >> fm.Linear(a, b, key=key)
    return jax.tree.map(lambda leaf: scale * leaf, net)


def samples(count, size, classes=None, seed=2):
    """Inputs, and labels or two-dimensional targets."""
    key, other = jax.random.split(jax.random.key(seed))
    inputs = jax.random.normal(key, (count, size))
    if classes is None:
        return inputs, jax.random.normal(other, (count, 2))
    return inputs, jax.random.randint(other, (count,), 0, classes)


def regression(count=7, sizes=(5, 4, 3, 2), **settings):
    net = tanh_network(*sizes)
    inputs, _ = samples(count, sizes[0])
    targets = jax.random.normal(jax.random.key(3), (count, sizes[-1]))
    return net, fm.Supervised(net, fm.MeanSquaredError(), inputs, targets, **settings)


def classification(count=9, sizes=(5, 4, 3), **settings):
    net = tanh_network(*sizes)
    return net, fm.Supervised(net, fm.SoftmaxCrossEntropy(), *samples(count, sizes[0], sizes[-1]), **settings)


def naive_blocks(net, inputs, factor, outputs_of=None):
    """`K_a` of each layer from the Jacobian of all outputs in all parameters; `factor(output)` is `L` of a sample."""
    flat, unravel = ravel_pytree(eqx.filter(net, eqx.is_inexact_array))
    rest = eqx.filter(net, eqx.is_inexact_array, inverse=True)

    def outputs(x):
        return jax.vmap(eqx.combine(unravel(x), rest))(inputs)

    jacobian = np.asarray(jax.jacrev(outputs)(flat))
    rows = [np.asarray(factor(z)) @ J for z, J in zip(np.asarray(outputs(flat)), jacobian, strict=True)]
    K = np.concatenate(rows) / np.sqrt(len(inputs))
    return K


def columns_by_layer(net):
    """Where the parameters of each layer of ours stand in `ravel_pytree` order."""
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(layer)) for layer in net.layers]
    edges = np.cumsum([0, *sizes])
    return [np.arange(a, b) for a, b in itertools.pairwise(edges) if b > a]


def softmax_factor(z):
    p = np.exp(z - z.max())
    p /= p.sum()
    return np.diag(np.sqrt(p)) - np.outer(np.sqrt(p), p)
