"""The factors of equal layers, stacked, against those of each layer and a block-diagonal matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from flowmod.linalg import JoinedRows, KhatriRaoRows, RepeatedRows

L, N, C, M, D = 3, 2, 2, 4, 5


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def layer(index, has_bias=True):
    return KhatriRaoRows(normal(index, N, C, M), normal(10 + index, N, D), has_bias)


def repeated(has_bias=True):
    return RepeatedRows(jax.tree.map(lambda *leaves: jnp.stack(leaves), *(layer(i, has_bias) for i in range(L))))


def by_leaf(blocks, has_bias=True):
    """Block-diagonal, with its columns leaf by leaf: the weights of all layers before their biases."""
    dense = scipy.linalg.block_diag(*blocks)
    places = np.arange(dense.shape[1]).reshape(L, -1)
    return dense[:, np.concatenate([places[:, : M * D].ravel(), places[:, M * D :].ravel()])]


@pytest.mark.parametrize("has_bias", [True, False])
def test_products_are_those_of_the_block_diagonal(has_bias):
    factor = repeated(has_bias)
    expected = by_leaf([layer(i, has_bias).to_dense() for i in range(L)])
    assert factor.row_shape == (L, N, C)
    assert factor.shapes == (((L, M, D), (L, M)) if has_bias else ((L, M, D),))
    assert (factor.count, factor.columns) == expected.shape
    np.testing.assert_array_equal(factor.to_dense(), expected)
    vector = tuple(normal(20 + i, *shape) for i, shape in enumerate(factor.shapes))
    flat = np.concatenate([leaf.ravel() for leaf in vector])
    np.testing.assert_allclose(factor.mv(vector).ravel(), expected @ flat, atol=1e-13)
    rows = normal(30, L, N, C)
    back = np.concatenate([leaf.ravel() for leaf in factor.rmv(rows)])
    np.testing.assert_allclose(back, rows.ravel() @ expected, atol=1e-13)
    scaled = factor.scaled(normal(31, N, C))
    weights = np.tile(np.asarray(normal(31, N, C)).ravel(), L)
    np.testing.assert_allclose(scaled.to_dense(), weights[:, None] * expected, atol=1e-14)


MASSES = {
    "scalar": (2.0, 3.0),
    "by layer": (np.reshape([1.0, 2.0, 3.0], (L, 1, 1)), np.reshape([2.0, 1.0, 4.0], (L, 1))),
    "by number": (1 + np.arange(L * M * D).reshape(L, M, D) / 7, 1 + np.arange(L * M).reshape(L, M) / 3),
    "the same in all layers": (1 + np.arange(M * D).reshape(1, M, D) / 7, 1 + np.arange(M).reshape(1, M) / 3),
    "by layer and input": (1 + np.arange(L * D).reshape(L, 1, D) / 7, 2.0),
}


@pytest.mark.parametrize("name", MASSES)
def test_gram_matrices_are_those_of_each_layer(name):
    mass = tuple(map(jnp.asarray, MASSES[name]))
    factor = repeated()
    full = [np.broadcast_to(entry, shape) for entry, shape in zip(mass, factor.shapes, strict=True)]
    grams, normals, samples = factor.gram(mass), factor.normal(), factor.sample_grams(mass)
    assert grams.shape == (L, N * C, N * C)
    for i in range(L):
        dense = np.asarray(layer(i).to_dense())
        gram = dense / np.concatenate([full[0][i].ravel(), full[1][i]]) @ dense.T
        np.testing.assert_allclose(grams[i], gram, atol=1e-13)
        np.testing.assert_allclose(normals[i], dense.T @ dense, atol=1e-13)
        for n in range(N):
            np.testing.assert_allclose(samples[i, n], gram.reshape(N, C, N, C)[n, :, n], atol=1e-13)
    assert not np.allclose(grams[0], grams[1])


def test_side_by_side_they_are_the_rows_of_the_whole():
    factor, other = repeated(), layer(7)
    joined = JoinedRows((factor, other))
    dense = np.asarray(joined.to_dense())
    layers = [np.asarray(layer(i).to_dense()) for i in range(L)]
    weights, biases = ([each[:, part] for each in layers] for part in (slice(0, M * D), slice(M * D, None)))
    np.testing.assert_array_equal(dense, np.concatenate([*weights, *biases, other.to_dense()], axis=1))
    vector = tuple(normal(40 + i, *shape) for i, shape in enumerate(joined.shapes))
    flat = np.concatenate([leaf.ravel() for leaf in vector])
    np.testing.assert_allclose(joined.mv(vector).ravel(), dense @ flat, atol=1e-13)
    back = joined.rmv(normal(50, N, C))
    np.testing.assert_allclose(
        np.concatenate([leaf.ravel() for leaf in back]), normal(50, N, C).ravel() @ dense, atol=1e-13
    )
    mass = tuple(jnp.asarray(2.0) for _ in joined.shapes)
    np.testing.assert_allclose(joined.gram(mass), dense @ dense.T / 2, atol=1e-13)


def test_places_are_the_columns_of_each_layer():
    factor = repeated()
    for i, places in enumerate(factor.places):
        rows = slice(i * N * C, (i + 1) * N * C)
        np.testing.assert_array_equal(factor.to_dense()[rows, places], layer(i).to_dense())
    assert sorted(factor.places.ravel()) == list(range(factor.columns))
