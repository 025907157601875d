"""Solves with `D + K^T K`: a 60-digit reference, dense NumPy, and what must not be silent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowmod.linalg import (
    AutodiffRows,
    DenseRows,
    InnerTolerance,
    KhatriRaoRows,
    RowSide,
    conjugate_gradients,
    follow,
    inner_matrix,
    psd_sqrt,
    solve_in_turn,
)


def given_rows(K):
    """A factor whose rows are those of a matrix: one row for each sample."""
    return DenseRows(K[:, None, :], ((K.shape[1],),))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_small_masses_against_sixty_digits(oracle, dtype):
    """Oracle o27: what is pushed through keeps its digits, what is subtracted loses them."""
    o = oracle("o27_woodbury_small_mass")
    K, e, g0 = (jnp.asarray(o["inputs"][name], dtype) for name in ("K", "e", "g0"))
    factor = given_rows(K)

    def solve(mu, residual, covector):
        side = RowSide.of(factor, (jnp.asarray(mu, dtype),))
        x = solve_in_turn((side,), (covector,), residual)[0][0]
        return np.asarray(x, dtype=np.float64)

    def relative(x, reference):
        return np.linalg.norm(x - reference) / np.linalg.norm(reference)

    eps = float(np.finfo(dtype).eps)
    zero = (jnp.zeros_like(g0),)
    for row in o["results"]["rows"]:
        mu, reference = row["mu"], np.asarray(row["reference"])
        pushed, subtracted = solve(mu, e[:, None], zero), solve(mu, None, (K.T @ e,))
        assert relative(pushed, reference) < 500 * eps
        assert relative(subtracted, reference) < 100 * eps / mu
        assert relative(solve(mu, e[:, None], (g0,)), np.asarray(row["reference_with_g0"])) < 500 * eps / min(mu, 1)
        if dtype == np.float32 and mu == 1e-6:
            assert relative(subtracted, reference) > 0.1  # negative control
        if dtype == np.float64:
            condition = np.linalg.cond(np.asarray(inner_matrix(factor, (jnp.asarray(mu),))))
            assert condition == pytest.approx(row["inner_cond"], rel=1e-6)


@pytest.fixture
def khatri_rao(key):
    k1, k2 = jax.random.split(key)
    return KhatriRaoRows(jax.random.normal(k1, (6, 3, 4)), jax.random.normal(k2, (6, 5)), True)


@pytest.mark.parametrize("has_bias", [True, False])
def test_products_with_rows_that_are_not_formed(khatri_rao, has_bias):
    factor = KhatriRaoRows(khatri_rao.costates, khatri_rao.inputs, has_bias)

    def apply(part, z):
        return part[0] @ z + (part[1] if has_bias else 0.0)

    part = (jnp.zeros((4, 5)), jnp.zeros(4))[: 1 + has_bias]
    generic = AutodiffRows(apply, part, factor.inputs, factor.costates)
    K = np.einsum("nco,nd->ncod", factor.costates, factor.inputs).reshape(18, 20)
    if has_bias:
        K = np.concatenate([K, np.asarray(factor.costates).reshape(18, 4)], axis=1)
    vector = tuple(jnp.cos(1.0 + jnp.arange(leaf.size, dtype=float)).reshape(leaf.shape) for leaf in part)
    rows = jnp.sin(jnp.arange(18.0)).reshape(6, 3)
    flat = np.concatenate([np.ravel(leaf) for leaf in vector])
    by_unit = (jnp.linspace(0.5, 1.5, 4)[:, None], jnp.linspace(0.2, 0.6, 4))
    masses = [
        (jnp.asarray(0.3), jnp.asarray(0.7)),
        by_unit,
        (by_unit[0], jnp.asarray(0.7)),
        (jnp.linspace(0.5, 1.5, 5)[None], by_unit[1]),
        tuple(2 + v for v in vector),
    ]
    for ours in (factor, generic):
        assert ours.count == 18
        np.testing.assert_allclose(ours.to_dense(), K, atol=1e-13)
        np.testing.assert_allclose(ours.mv(vector).ravel(), K @ flat, atol=1e-12)
        back = np.concatenate([np.ravel(leaf) for leaf in ours.rmv(rows)])
        np.testing.assert_allclose(back, K.T @ np.ravel(rows), atol=1e-12)
        np.testing.assert_allclose(ours.normal(), K.T @ K, atol=1e-12)
        for mass in (mass[: 1 + has_bias] for mass in masses):
            D = np.concatenate([np.broadcast_to(m, leaf.shape).ravel() for m, leaf in zip(mass, part, strict=True)])
            gram = (K / D) @ K.T
            np.testing.assert_allclose(ours.gram(mass), gram, atol=1e-12)
            blocks = [gram[3 * n : 3 * n + 3, 3 * n : 3 * n + 3] for n in range(6)]
            np.testing.assert_allclose(ours.sample_grams(mass), blocks, atol=1e-12)
        weights = jnp.cos(jnp.arange(18.0)).reshape(6, 3)
        np.testing.assert_allclose(ours.scaled(weights).to_dense(), np.ravel(weights)[:, None] * K, atol=1e-13)


def blocks_with_zeros():
    """Two blocks of very different stiffness; the right-hand side has zeros, and one block of them alone."""
    rng = np.random.default_rng(0)
    matrices = []
    for n, top in ((12, 1e4), (7, 3.0), (4, 2.0)):
        q, _ = np.linalg.qr(rng.normal(size=(n, n)))
        matrices.append(q @ np.diag(np.geomspace(1, top, n)) @ q.T)
    b = [rng.normal(size=12), rng.normal(size=7), np.zeros(4)]
    b[0][:9] = 0
    return [jnp.asarray(m) for m in matrices], tuple((jnp.asarray(v),) for v in b)


def test_all_blocks_meet_their_tolerance_also_where_the_right_hand_side_is_zero():
    matrices, b = blocks_with_zeros()
    operator = lambda x: tuple((m @ v[0],) for m, v in zip(matrices, x, strict=True))  # noqa: E731
    solution = jax.jit(lambda b: conjugate_gradients(operator, b, 1e-12))(b)
    assert bool(solution.converged)
    assert solution.residual.shape == (3,)
    assert float(solution.residual.max()) < 1e-10
    for matrix, (x,), (right,) in zip(matrices, solution.value, b, strict=True):
        np.testing.assert_allclose(x, np.linalg.solve(matrix, right), rtol=1e-7, atol=1e-12)


def test_a_stop_without_convergence_says_so():
    matrices, b = blocks_with_zeros()
    broken = [matrices[0] * jnp.nan, *matrices[1:]]
    operator = lambda x: tuple((m @ v[0],) for m, v in zip(broken, x, strict=True))  # noqa: E731
    assert not bool(conjugate_gradients(operator, b, 1e-10).converged)
    # A tolerance below rounding ends at the last step, and does not claim to have met it.
    hard = [jnp.diag(jnp.geomspace(1.0, 1e14, 40))]
    x = conjugate_gradients(lambda x: ((hard[0] @ x[0][0],),), ((jnp.ones(40),),), 1e-15)
    assert not bool(x.converged)
    assert float(x.residual[0]) > 1e-15


def test_a_derivative_is_one_more_solve():
    matrices, b = blocks_with_zeros()

    def solved(scale):
        operator = lambda x: tuple((scale * (m @ v[0]),) for m, v in zip(matrices, x, strict=True))  # noqa: E731
        value = conjugate_gradients(operator, b, 1e-13).value
        return sum(jnp.sum(leaf**2) for (leaf,) in value)

    exact = -2 * 2.0**-3 * float(solved(1.0))
    assert float(jax.jit(jax.grad(solved))(2.0)) == pytest.approx(exact, rel=1e-8)
    assert float(jax.jvp(solved, (2.0,), (1.0,))[1]) == pytest.approx(exact, rel=1e-8)


def test_square_roots_with_equal_eigenvalues_have_a_derivative(key):
    z = jnp.asarray([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5]])

    def fisher(z):
        p = jax.nn.softmax(z)
        return jax.vmap(jnp.diag)(p) - p[:, :, None] * p[:, None, :]

    root = psd_sqrt(fisher(z))
    np.testing.assert_allclose(root @ root, fisher(z), atol=1e-14)
    direction = jax.random.normal(key, z.shape)
    _, slope = jax.jvp(lambda z: psd_sqrt(fisher(z)), (z,), (direction,))
    step = 1e-5
    numeric = (psd_sqrt(fisher(z + step * direction)) - psd_sqrt(fisher(z - step * direction))) / (2 * step)
    np.testing.assert_allclose(slope, numeric, atol=1e-8)


def test_open_tolerances_follow_the_integrator():
    tree = {"open": InnerTolerance(), "set": InnerTolerance(1e-3), "other": 1.0}
    filled = follow(tree, 1e-6)
    assert filled["open"].value == pytest.approx(1e-8)
    assert filled["set"].value == 1e-3
    assert tree["open"].at(np.dtype("float64")) < 1e-10
    assert tree["open"].at(np.dtype("float32")) < 1e-4
