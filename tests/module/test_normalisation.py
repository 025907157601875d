"""Normalisations: mean and variance, what is learned, the linearisation, and what they refuse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.linearisation import check_linearisation


def moved(layer):
    """The layer with gains and biases away from where they start."""
    leaves, structure = jax.tree.flatten(layer)
    keys = jax.random.split(jax.random.key(5), len(leaves) + 1)
    return jax.tree.unflatten(
        structure, [leaf + jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=False)]
    )


LAYERS = {
    "layer": (lambda: fm.LayerNorm(5), (5,)),
    "layer of an image": (lambda: fm.LayerNorm((2, 3)), (2, 3)),
    "layer without bias": (lambda: fm.LayerNorm(5, use_bias=False), (5,)),
    "layer without weight": (lambda: fm.LayerNorm(5, use_weight=False), (5,)),
    "layer without parameters": (lambda: fm.LayerNorm(5, use_weight=False, use_bias=False), (5,)),
    "group": (lambda: fm.GroupNorm(2, 4), (4, 3, 2)),
    "group of vectors": (lambda: fm.GroupNorm(2, 4, use_bias=False), (4,)),
    "instance": (lambda: fm.GroupNorm(3, 3), (3, 4)),
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_linearisation(name, count, key):
    make, shape = LAYERS[name]
    check_linearisation(moved(make()), jax.random.normal(key, (count, *shape)))


def test_they_are_those_of_equinox(key):
    z = 3 + 2 * jax.random.normal(key, (4, 3, 2))
    np.testing.assert_allclose(fm.LayerNorm((4, 3, 2))(z), eqx.nn.LayerNorm((4, 3, 2))(z), atol=1e-13)
    np.testing.assert_allclose(fm.GroupNorm(2, 4)(z), eqx.nn.GroupNorm(2, 4)(z), atol=1e-13)
    assert not np.allclose(fm.GroupNorm(2, 4)(z), fm.GroupNorm(4, 4)(z))


def test_equal_numbers_have_a_finite_derivative():
    assert np.isfinite(jax.jacobian(fm.LayerNorm(3))(jnp.ones(3))).all()


def test_samples_take_the_precision_of_the_parameters(key):
    for layer in (fm.LayerNorm(4), fm.GroupNorm(2, 4)):
        single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), layer)
        assert single(jax.random.normal(key, (4,))).dtype == jnp.float32
    assert fm.LayerNorm(4, use_weight=False, use_bias=False)(jnp.arange(4)).dtype == jnp.float64


def test_refusals():
    with pytest.raises(ValueError, match=r"`LayerNorm\(\(3,\)\)` needs samples of shape \(3,\), got \(4,\): reshape"):
        fm.LayerNorm(3)(jnp.ones(4))
    with pytest.raises(ValueError, match=r"`GroupNorm\(2, 4\)` needs samples of shape \(4, ...\), got \(3, 4\)"):
        fm.GroupNorm(2, 4)(jnp.ones((3, 4)))
    with pytest.raises(ValueError, match="`groups` must divide the 4 channels, got 3"):
        fm.GroupNorm(3, 4)
    with pytest.raises(ValueError, match="`shape` must be a positive integer, got 0"):
        fm.LayerNorm((2, 0))
    with pytest.raises(ValueError, match=r"`eps` must be positive, got 0.0"):
        fm.LayerNorm(3, eps=0.0)
