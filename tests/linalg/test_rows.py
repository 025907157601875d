"""Row factors: every product and Gram matrix against the dense matrix, written out with NumPy loops."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowmod.linalg import (
    ArrangedRows,
    AutodiffRows,
    DenseRows,
    JoinedRows,
    KhatriRaoRows,
    Layout,
    LookupRows,
    PositionRows,
    SummedRows,
)

N, C, S, H, D = 3, 2, 4, 3, 5
RNG = np.random.default_rng(3)
P = RNG.normal(size=(N, C, S, H))
Z = RNG.normal(size=(N, S, D))
IDS = np.asarray([[0, 4, 4, 1], [2, 2, 2, 2], [1, 0, 4, 6]])
VOCABULARY = 7


def sums_of_products(bias):
    K = np.zeros((N, C, H, D))
    b = np.zeros((N, C, H))
    for n in range(N):
        for c in range(C):
            for s in range(S):
                K[n, c] += np.outer(P[n, c, s], Z[n, s])
                b[n, c] += P[n, c, s]
    K = K.reshape(N * C, -1)
    return np.concatenate([K, b.reshape(N * C, -1)], axis=1) if bias else K


def looked_up():
    K = np.zeros((N, C, VOCABULARY, H))
    for n in range(N):
        for c in range(C):
            for s in range(S):
                K[n, c, IDS[n, s]] += P[n, c, s]
    return K.reshape(N * C, -1)


def autodiff():
    def output(part, z):
        return jnp.tanh(part[0] @ z) * part[1]

    part = (jnp.asarray(RNG.normal(size=(H, D))), jnp.asarray(RNG.normal(size=H)))
    rows = [jax.jacobian(output)(part, z) for z in Z[:, 0]]
    dense = [np.concatenate([np.asarray(leaf).reshape(H, -1) for leaf in row], axis=1) for row in rows]
    K = np.einsum("nco,nop->ncp", P[:, :, 0], np.stack(dense))
    return AutodiffRows(output, part, jnp.asarray(Z[:, 0]), jnp.asarray(P[:, :, 0])), K.reshape(N * C, -1)


def factors():
    p, z, ids = jnp.asarray(P), jnp.asarray(Z), jnp.asarray(IDS)
    together = sums_of_products(True)
    outer = KhatriRaoRows(p[:, :, 0], z[:, 0], True)
    one = np.concatenate(
        [np.einsum("nco,nd->ncod", P[:, :, 0], Z[:, 0]).reshape(N * C, -1), P[:, :, 0].reshape(N * C, -1)], 1
    )
    weights = sums_of_products(False).reshape(N * C, H, D)
    stored = np.concatenate([together[:, H * D :], weights.transpose(0, 2, 1).reshape(N * C, -1)], axis=1)
    layouts = (Layout(1, (H,), "float64"), Layout(0, (D, H), "float64", (("transpose", (1, 0)),)))
    table = RNG.normal(size=(N, C, VOCABULARY * H))
    dense = DenseRows(jnp.asarray(table), ((VOCABULARY, H),))
    return {
        "outer products": (outer, one),
        "positions": (PositionRows(p, z, False), sums_of_products(False)),
        "positions with a bias": (PositionRows(p, z, True), together),
        "lookup": (LookupRows(p, ids, VOCABULARY), looked_up()),
        "dense": (dense, table.reshape(N * C, -1)),
        "sum": (SummedRows((LookupRows(p, ids, VOCABULARY), dense)), looked_up() + table.reshape(N * C, -1)),
        "joined": (JoinedRows((outer, dense)), np.concatenate([one, table.reshape(N * C, -1)], axis=1)),
        "arranged": (ArrangedRows(PositionRows(p, z, True), layouts, "float64"), stored),
        "autodiff": autodiff(),
    }


FACTORS = factors()
MASSES = {
    "number": lambda i, shape: jnp.asarray(0.5 + i),
    "by output": lambda i, shape: 1.0 + jnp.arange(float(shape[0])).reshape(-1, *(1,) * (len(shape) - 1)),
    "by input": lambda i, shape: 1.0 + jnp.arange(float(shape[-1])).reshape(*(1,) * (len(shape) - 1), -1),
    "by number": lambda i, shape: jnp.asarray(1.0 + np.random.default_rng(i).uniform(size=shape)),
}


def close(value, wanted):
    np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("name", FACTORS)
def test_products_are_those_of_the_dense_matrix(name):
    factor, K = FACTORS[name]
    close(eqx.filter_jit(lambda f: f.to_dense())(factor), K)
    assert factor.row_shape == (N, C)
    assert (factor.count, factor.columns) == K.shape
    vector = tuple(jnp.asarray(np.random.default_rng(8).normal(size=shape)) for shape in factor.shapes)
    flat = np.concatenate([leaf.ravel() for leaf in vector])
    close(factor.mv(vector).ravel(), K @ flat)
    rows = np.random.default_rng(9).normal(size=(N, C))
    back = factor.rmv(jnp.asarray(rows))
    assert tuple(leaf.shape for leaf in back) == factor.shapes
    close(np.concatenate([leaf.ravel() for leaf in back]), K.T @ rows.ravel())
    close(factor.scaled(jnp.asarray(rows)).to_dense(), rows.reshape(-1, 1) * K)
    close(factor.scaled(jnp.asarray(rows)).mv(vector).ravel(), rows.ravel() * (K @ flat))
    close(factor.normal(), K.T @ K)


@pytest.mark.parametrize("kind", MASSES)
@pytest.mark.parametrize("name", FACTORS)
def test_gram_matrices_weigh_each_number_by_its_mass(name, kind):
    factor, K = FACTORS[name]
    mass = tuple(MASSES[kind](i, shape) for i, shape in enumerate(factor.shapes))
    D = np.concatenate([np.broadcast_to(m, shape).ravel() for m, shape in zip(mass, factor.shapes, strict=True)])
    gram = (K / D) @ K.T
    close(factor.gram(mass), gram)
    blocks = gram.reshape(N, C, N, C)[np.arange(N), :, np.arange(N), :]
    close(factor.sample_grams(mass), blocks)
    wrong = tuple(m * (1.5 if i == 0 else 1.0) for i, m in enumerate(mass))
    assert np.abs(factor.gram(wrong) - gram).max() > 1e-3 * np.abs(gram).max()


def test_arrays_alone_pass_through_a_loop():
    """All but the rows of automatic differentiation are pytrees of arrays, the samples first."""
    for name, (factor, K) in FACTORS.items():
        if name == "autodiff":
            continue
        assert all(leaf.shape[0] == N for leaf in jax.tree.leaves(factor))
        twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), factor)
        dense = jax.lax.map(lambda each: each.to_dense(), twice)
        close(dense[1], K)


def test_a_large_layer_takes_a_few_outputs_at_a_time():
    """More outputs than are held at once, in a number that is no multiple of the others."""
    p = np.random.default_rng(0).normal(size=(2, 2, 3, 30))
    z = np.random.default_rng(1).normal(size=(2, 3, 300))
    factor = PositionRows(jnp.asarray(p), jnp.asarray(z), True)
    K = np.asarray(factor.to_dense())
    close(
        factor.gram((jnp.asarray(2.0), jnp.asarray(3.0))),
        K[:, :9000] @ K[:, :9000].T / 2 + K[:, 9000:] @ K[:, 9000:].T / 3,
    )


def test_lower_precision_is_kept_in_what_is_stored():
    factor, K = FACTORS["positions"]
    stored = ArrangedRows(factor, (Layout(0, (H, D), "float32"),), "float64")
    (back,) = stored.rmv(jnp.ones((N, C)))
    assert back.dtype == jnp.float32
    assert stored.mv((jnp.ones((H, D), jnp.float32),)).dtype == jnp.float64
    close(stored.gram((jnp.ones((), jnp.float32),)), K @ K.T)
