"""The networks and data of the engine's benchmarks, and what a compiled program is asked: its time, memory, error."""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import flowmod as fm
from benchmarks.comparators.plain import plain_weights
from tests.networks import tanh_network

LOSSES = {"softmax": fm.SoftmaxCrossEntropy(), "least squares": fm.MeanSquaredError()}
_IMAGES, _LABELS = load_digits(return_X_y=True)


def digits(count: int, loss: str = "softmax", dtype=jnp.float64):
    """The first images of scikit-learn's digits, 64 numbers in [0, 1] each, and their labels, or these one-hot."""
    labels = jnp.asarray(_LABELS[:count])
    targets = labels if loss == "softmax" else jax.nn.one_hot(labels, 10, dtype=dtype)
    return jnp.asarray(_IMAGES[:count] / 16, dtype), targets


def digits_problem(count: int, sizes=(64, 128, 128, 10), loss: str = "softmax", dtype=jnp.float64):
    """A tanh network and its problem on digits."""
    net = cast(tanh_network(*sizes), dtype)
    return net, fm.Supervised(net, LOSSES[loss], *digits(count, loss, dtype))


def cast(tree, dtype):
    return jax.tree.map(lambda leaf: leaf.astype(dtype), tree)


def update(problem, metric):
    """The descent of a problem in a metric, compiled: a function of the module."""
    return jax.jit(lambda net: fm.steepest_descent(problem, metric, net)[2])


def by_layer(vector):
    """A module's tangent as one flat vector a layer, in the order of the plain baselines."""
    return [np.concatenate([weight.ravel(), bias]) for weight, bias in plain_weights(vector)]


def relative_error(ours, reference) -> float:
    """The largest over the layers of `|ours - reference| / |reference|`."""
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(ours, reference, strict=True))


def temporary_mib(program, *args) -> float:
    """The memory that a compiled program takes beside its arguments and results."""
    return program.lower(*args).compile().memory_analysis().temp_size_in_bytes / 2**20
