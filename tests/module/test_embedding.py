"""Embeddings: whole numbers in, rows of a table out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.linearisation import check_linearisation


@pytest.mark.parametrize("tokens", [[[0, 3, 3]], [[1, 1, 2], [4, 0, 0], [2, 3, 4]], [0, 4, 4]])
def test_linearisation(tokens, key):
    check_linearisation(fm.Embedding(5, 2, key=key), jnp.asarray(tokens))


def test_in_series(key):
    net = fm.Embedding(5, 2, key=key) >> fm.Flatten() >> fm.Linear(6, 3, key=key) >> fm.Pointwise(jnp.tanh)
    check_linearisation(net, jnp.asarray([[0, 1, 1], [4, 4, 2]]))
    both = fm.Parallel((fm.Embedding(5, 2, key=key), fm.Embedding(5, 2, key=jax.random.key(1))), join="sum")
    check_linearisation(both >> fm.Each(fm.Linear(2, 2, key=key)), jnp.asarray([[0, 1, 1], [4, 4, 2]]))


def test_numbers_without_an_entry_give_nan(key):
    outputs = fm.Embedding(3, 2, key=key)(jnp.asarray([0, 3, -1, 2]))
    np.testing.assert_array_equal(np.isnan(outputs).any(axis=1), [False, True, True, False])


def test_refusals(key):
    with pytest.raises(ValueError, match=r"`Embedding\(3, 2\)` needs samples of whole numbers, got float64"):
        fm.Embedding(3, 2, key=key)(jnp.ones(2))
    with pytest.raises(ValueError, match="`count` must be a positive integer, got -1"):
        fm.Embedding(-1, 2, key=key)
