"""All common activations as `fm.Pointwise`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.linearisation import check_linearisation

ACTIVATIONS = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "gelu": jax.nn.gelu,
    "exact gelu": functools.partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "leaky relu": jax.nn.leaky_relu,
    "leaky relu of a slope": functools.partial(jax.nn.leaky_relu, negative_slope=0.2),
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "mish": jax.nn.mish,
    "soft sign": jax.nn.soft_sign,
    "softmax": jax.nn.softmax,
    "log softmax": jax.nn.log_softmax,
    "identity": jax.nn.identity,
    "sine": jnp.sin,
    "square": jnp.square,
    "lambda": lambda z: z**3,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name, key):
    net = fm.Linear(4, 3, key=key) >> fm.Pointwise(ACTIVATIONS[name])
    check_linearisation(net, jax.random.normal(key, (3, 4)))
    assert hash(jax.tree.structure(net)) == hash(jax.tree.structure(net))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), net)
    outputs, pull = single.linearise(jnp.ones((1, 4), jnp.float32))
    _, back = pull(jnp.ones((1, 2, 3), jnp.float32))
    assert outputs.dtype == back.dtype == jnp.float32


def test_at_a_kink_it_is_as_jax_has_it():
    _, back = fm.Pointwise(jax.nn.relu).linearise(jnp.zeros((1, 2)))[1](jnp.eye(2)[None])
    np.testing.assert_array_equal(back, jnp.zeros((1, 2, 2)))


def test_whole_numbers_become_floats():
    outputs, _ = fm.Pointwise(jnp.tanh).linearise(jnp.asarray([[1, 2]]))
    np.testing.assert_allclose(outputs, np.tanh([[1.0, 2.0]]))
