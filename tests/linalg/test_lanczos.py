"""The leading eigenpair of a pencil: against SciPy's dense one, and where no more than a wrong answer can be had."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from flowmod.linalg import leading_eigenpair, random_start


def random_pencil(n, seed, condition=1e2):
    """A symmetric indefinite `S` and a positive definite `M` of a given condition."""
    rng = np.random.default_rng(seed)
    s = rng.normal(size=(n, n))
    q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    m = (q * np.geomspace(1 / condition, 1, n)) @ q.T
    return (s + s.T) / np.sqrt(n), (m + m.T) / 2


@functools.partial(jax.jit, static_argnames="most")
def dense_lanczos(s, m, start, most=300):
    factor = jax.scipy.linalg.cho_factor(m)

    def solve(g):
        return jax.scipy.linalg.cho_solve(factor, g)

    return leading_eigenpair(lambda d: s @ d, lambda d: m @ d, solve, start, most=most)


def lanczos(s, m, most=300):
    s, m = jnp.asarray(s), jnp.asarray(m)
    return dense_lanczos(s, m, random_start(len(s), s.dtype), most)


@pytest.mark.parametrize("n", [1, 2, 3, 17, 90, 300])
def test_the_largest_eigenvalue_of_a_pencil(n):
    s, m = random_pencil(n, seed=n)
    mode, expected = lanczos(s, m), scipy.linalg.eigh(s, m)
    np.testing.assert_allclose(mode.value, expected[0][-1], rtol=1e-8)
    assert mode.converged
    assert mode.steps <= n
    np.testing.assert_allclose(mode.vector @ m @ mode.vector, 1, rtol=1e-12)
    np.testing.assert_allclose(np.abs(mode.vector @ m @ expected[1][:, -1]), 1, rtol=1e-8)
    # The residual is what it says, from the dense matrices.
    missing = np.linalg.solve(m, s @ mode.vector) - mode.value * mode.vector
    np.testing.assert_allclose(mode.residual, np.sqrt(missing @ m @ missing), atol=1e-11 * float(mode.scale))
    np.testing.assert_allclose(mode.scale, np.abs(expected[0]).max(), rtol=1e-2)


def test_negative_control_a_power_iteration_finds_the_other_end():
    s, m = random_pencil(60, seed=1)
    values = scipy.linalg.eigh(s, m, eigvals_only=True)
    s = s - values[-1] * 0.8 * m
    values = scipy.linalg.eigh(s, m, eigvals_only=True)
    q = np.asarray(random_start(60, jnp.float64))
    for _ in range(2000):
        q = np.linalg.solve(m, s @ q)
        q = q / np.sqrt(q @ m @ q)
    np.testing.assert_allclose(q @ s @ q, values[0], rtol=1e-3)
    np.testing.assert_allclose(lanczos(s, m).value, values[-1], rtol=1e-8)
    assert values[0] < 0 < values[-1]


def test_negative_control_without_the_metric_it_is_another_eigenvalue():
    s, m = random_pencil(40, seed=2)
    assert abs(lanczos(s, m).value / np.linalg.eigvalsh(s)[-1] - 1) > 0.1


@pytest.mark.parametrize("c", [-2.5, 0.0, 3.0])
def test_a_multiple_of_the_metric_takes_one_product(c):
    _, m = random_pencil(50, seed=3)
    mode = lanczos(c * m, m)
    np.testing.assert_allclose(mode.value, c, rtol=1e-12, atol=0)
    assert mode.steps == 1
    assert mode.converged


def test_an_invariant_subspace_ends_the_search():
    """Three distinct eigenvalues among eighty: three products, and the largest although its copies are many."""
    _, m = random_pencil(80, seed=4, condition=10)
    root = scipy.linalg.sqrtm(m).real
    q = np.linalg.qr(np.random.default_rng(5).normal(size=(80, 80)))[0]
    s = root @ (q * np.repeat([-5.0, 0.5, 2.0], [40, 30, 10])) @ q.T @ root
    mode = lanczos((s + s.T) / 2, m)
    np.testing.assert_allclose(mode.value, 2.0, rtol=1e-10)
    assert mode.steps == 3


@settings(max_examples=25)
@given(n=st.sampled_from([1, 4, 12]), seed=st.integers(0, 2**32 - 1), shift=st.floats(-20, 20))
def test_a_shift_moves_the_eigenvalue(n, seed, shift):
    s, m = random_pencil(n, seed)
    scale = np.abs(scipy.linalg.eigh(s, m, eigvals_only=True)).max() + abs(shift)
    np.testing.assert_allclose(lanczos(s + shift * m, m).value, lanczos(s, m).value + shift, atol=1e-10 * scale)


@settings(max_examples=25)
@given(n=st.sampled_from([2, 5, 12]), seed=st.integers(0, 2**32 - 1))
def test_a_value_is_never_above_the_largest_eigenvalue(n, seed):
    s, m = random_pencil(n, seed)
    values = scipy.linalg.eigh(s, m, eigvals_only=True)
    start = jnp.asarray(np.random.default_rng(seed).normal(size=n))
    few = dense_lanczos(jnp.asarray(s), jnp.asarray(m), start, most=2)
    assert few.value <= values[-1] + 1e-10 * np.abs(values).max()
    assert np.abs(values - few.value).min() <= few.residual + 1e-10 * np.abs(values).max()


def test_too_few_products_are_reported():
    mode = lanczos(*random_pencil(200, seed=6), most=5)
    assert not mode.converged
    assert mode.steps == 5
    assert mode.residual > 1e-3 * mode.scale
    with pytest.raises(RuntimeError, match=r"did not converge in 5 products: the residual is .* Take more"):
        mode.require_converged("Take more.")


@pytest.mark.parametrize("where", ["s", "m"])
def test_nan_in_is_nan_out(where):
    s, m = random_pencil(30, seed=7)
    {"s": s, "m": m}[where][4, 4] = np.nan
    mode = lanczos(s, m)
    assert np.isnan(mode.value)
    assert not mode.converged
    mode.require_converged("")  # what is not a number is no matter of convergence


def test_float32():
    s, m = random_pencil(120, seed=8, condition=10)
    mode = lanczos(s.astype(np.float32), m.astype(np.float32))
    assert mode.converged
    assert {leaf.dtype for leaf in (mode.value, mode.vector, mode.residual, mode.scale)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(mode.value, scipy.linalg.eigh(s, m, eigvals_only=True)[-1], rtol=1e-4)


def test_many_pencils_one_after_the_other_and_together():
    pencils = [random_pencil(20, seed) for seed in range(4)]
    s, m = (jnp.asarray(np.stack(part)) for part in zip(*pencils, strict=True))
    start = random_start(20, s.dtype)

    def value(pencil):
        return dense_lanczos(*pencil, start).value

    expected = [scipy.linalg.eigh(*pencil, eigvals_only=True)[-1] for pencil in pencils]
    np.testing.assert_allclose(jax.lax.map(value, (s, m)), expected, rtol=1e-10)
    np.testing.assert_allclose(jax.vmap(value)((s, m)), expected, rtol=1e-10)


def test_a_step_is_one_product_of_each_kind():
    """`S` and a solve once a step and once for the residual, `M` twice more; counted where loops run in Python."""
    s, m = random_pencil(30, seed=9)
    counts = {"S": 0, "M": 0, "solve": 0}

    def counted(name, fn):
        def count(x):
            counts[name] += 1
            return fn(x)

        return count

    with jax.disable_jit():
        mode = leading_eigenpair(
            counted("S", lambda d: s @ d),
            counted("M", lambda d: m @ d),
            counted("solve", lambda g: jnp.linalg.solve(m, g)),
            random_start(30, jnp.float64),
        )
    steps = int(mode.steps)
    assert counts == {"S": steps + 1, "M": steps + 3, "solve": steps + 1}
