"""Poolings against windows cut out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.linearisation import check_linearisation


@pytest.mark.parametrize(("layer", "of_window"), [(fm.MaxPool2d, np.max), (fm.AvgPool2d, np.mean)])
def test_each_window(layer, of_window, key):
    z = jax.random.normal(key, (2, 5, 6))
    by_hand = np.zeros((2, 2, 4))
    for c, i, j in np.ndindex(by_hand.shape):
        by_hand[c, i, j] = of_window(np.asarray(z[c, 2 * i : 2 * i + 2, j : j + 3]))
    np.testing.assert_allclose(layer((2, 3), (2, 1))(z), by_hand, atol=1e-15)


POOLS = {
    "largest 1d": (fm.MaxPool1d(2), (2, 5)),
    "largest 2d": (fm.MaxPool2d(2), (2, 4, 5)),
    "largest 2d, overlapping": (fm.MaxPool2d(3, 1), (1, 4, 5)),
    "mean 1d": (fm.AvgPool1d(3, 2), (2, 7)),
    "mean 2d": (fm.AvgPool2d((1, 2)), (2, 3, 4)),
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", POOLS)
def test_linearisation(name, count, key):
    pool, shape = POOLS[name]
    check_linearisation(pool, jax.random.normal(key, (count, *shape)))


def test_between_layers(key):
    net = fm.Conv2d(1, 2, 2, key=key) >> fm.Pointwise(jnp.tanh) >> fm.MaxPool2d(2) >> fm.Flatten()
    check_linearisation(net >> fm.Linear(8, 2, key=key), jax.random.normal(key, (2, 1, 5, 6)))


def test_second_derivatives(key):
    """A rate differentiates a metric, so that poolings are differentiated twice."""
    z = jax.random.normal(key, (1, 4))
    for pool in (fm.MaxPool1d(2), fm.AvgPool1d(2)):
        hessian = jax.hessian(lambda z, pool=pool: jnp.sum(pool(z) ** 3))(z)[0, :, 0]
        windows = np.asarray(z).reshape(2, 2)
        if isinstance(pool, fm.MaxPool1d):
            expected = np.diag((6 * windows * (windows == windows.max(axis=1, keepdims=True))).ravel())
        else:
            expected = np.kron(np.diag(6 * windows.mean(axis=1)), np.full((2, 2), 0.25))
        np.testing.assert_allclose(hessian, expected, atol=1e-14)


def test_whole_numbers_are_pooled_too():
    image = jnp.arange(16, dtype=jnp.uint8).reshape(1, 4, 4)
    np.testing.assert_array_equal(fm.MaxPool2d(2)(image)[0], [[5, 7], [13, 15]])
    np.testing.assert_array_equal(fm.AvgPool2d(2)(image)[0], [[2.5, 4.5], [10.5, 12.5]])


def test_flatten(key):
    z = jax.random.normal(key, (2, 3, 2))
    np.testing.assert_array_equal(fm.Flatten()(z[0]), z[0].reshape(-1))
    check_linearisation(fm.Flatten(), z)
    assert fm.Flatten()(z[0, 0, 0]).shape == (1,)


def test_refusals():
    with pytest.raises(ValueError, match=r"`MaxPool2d\(\(2, 2\)\)` needs samples of shape \(channels, height, width\)"):
        fm.MaxPool2d(2)(jnp.ones((4, 4)))
    with pytest.raises(ValueError, match=r"no smaller than its window, got \(1, 2\)"):
        fm.AvgPool1d(3)(jnp.ones((1, 2)))
    with pytest.raises(ValueError, match="`window` must be a positive integer, got 0"):
        fm.AvgPool1d(0)
    with pytest.raises(ValueError, match=r"`stride` must be an integer, or one for each of 2 axes, got \(1,\)"):
        fm.MaxPool2d(2, (1,))
