"""Convolutions: what they compute, written out, their linearisation, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.linearisation import check_linearisation


def test_a_convolution_is_a_sum_over_the_patch(key):
    layer = fm.Conv2d(2, 3, (2, 3), stride=(1, 2), padding=(1, 0), key=key)
    assert layer.weight.shape == (3, 2, 2, 3)
    assert layer.bias.shape == (3,)
    assert float(jnp.abs(layer.weight).max()) <= 12**-0.5
    z = np.asarray(jax.random.normal(key, (2, 4, 5)))
    padded = np.pad(z, ((0, 0), (1, 1), (0, 0)))
    by_hand = np.zeros((3, 5, 2))
    for o, i, j in np.ndindex(by_hand.shape):
        by_hand[o, i, j] = np.sum(layer.weight[o] * padded[:, i : i + 2, 2 * j : 2 * j + 3]) + layer.bias[o]
    np.testing.assert_allclose(layer(z), by_hand, atol=1e-13)


def test_in_one_dimension_it_is_that_of_numpy(key):
    layer = fm.Conv1d(1, 1, 3, use_bias=False, key=key)
    z = jax.random.normal(key, (1, 7))
    np.testing.assert_allclose(layer(z)[0], np.correlate(z[0], layer.weight[0, 0], "valid"), atol=1e-13)


LAYERS = {
    "1d": (lambda key: fm.Conv1d(2, 3, 3, key=key), (2, 6)),
    "1d without bias": (lambda key: fm.Conv1d(2, 3, 2, 2, 1, use_bias=False, key=key), (2, 5)),
    "2d": (lambda key: fm.Conv2d(2, 3, 3, key=key), (2, 4, 5)),
    "2d strided, padded": (lambda key: fm.Conv2d(1, 2, (2, 3), (2, 1), (0, 1), key=key), (1, 4, 3)),
    "2d same": (lambda key: fm.Conv2d(2, 2, 3, 2, "SAME", use_bias=False, key=key), (2, 4, 3)),
    "of one place": (lambda key: fm.Conv2d(3, 2, 1, key=key), (3, 2, 2)),
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_linearisation(name, count, key):
    make, shape = LAYERS[name]
    check_linearisation(make(key), jax.random.normal(key, (count, *shape)))


def test_same_padding_keeps_the_size(key):
    assert fm.Conv2d(2, 3, 3, padding="SAME", key=key)(jnp.ones((2, 5, 4))).shape == (3, 5, 4)
    assert fm.Conv2d(2, 3, 3, 2, "SAME", key=key)(jnp.ones((2, 5, 4))).shape == (3, 3, 2)


def test_samples_take_the_precision_of_the_parameters(key):
    layer = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), fm.Conv2d(2, 3, 3, key=key))
    inputs = jax.random.normal(key, (3, 2, 4, 4))
    assert inputs.dtype == jnp.float64
    outputs, pull = layer.linearise(inputs)
    factors, _ = pull(jnp.ones((3, 1, *outputs.shape[1:]), jnp.float32))
    assert outputs.dtype == factors[0].to_dense().dtype == jnp.float32
    assert layer(jnp.full((2, 4, 4), 200, jnp.uint8)).dtype == jnp.float32


def test_refusals(key):
    layer = fm.Conv2d(2, 3, 3, key=key)
    with pytest.raises(
        ValueError, match=r"`Conv2d\(2, 3, \(3, 3\)\)` needs samples of shape \(2, height, width\), got"
    ):
        layer(jnp.ones((4, 4, 2)))
    with pytest.raises(ValueError, match=r"got \(2, 4\): reshape them, or make the layer for their shape"):
        layer(jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=r"no smaller than its kernel, got \(2, 2, 4\)"):
        layer.linearise(jnp.ones((5, 2, 2, 4)))
    with pytest.raises(ValueError, match=r"`Conv1d\(2, 3, \(3,\)\)` needs samples of shape \(2, length\)"):
        fm.Conv1d(2, 3, 3, key=key)(jnp.ones((2, 3, 3)))
    with pytest.raises(ValueError, match="`kernel_size` must be a positive integer, got 0"):
        fm.Conv2d(2, 3, 0, key=key)
    with pytest.raises(ValueError, match=r"`stride` must be an integer, or one for each of 2 axes, got \(1, 1, 1\)"):
        fm.Conv2d(2, 3, 3, (1, 1, 1), key=key)
    for wrong in (-1, "half", 0.5, (1, 2, 3)):
        with pytest.raises(ValueError, match="`padding` must be 'SAME', 'VALID', or a number of zeros"):
            fm.Conv2d(2, 3, 3, padding=wrong, key=key)
