"""The ends of a pencil's spectrum: against SciPy's dense ones, and where a start is blind to the one that is wanted."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from flowmod.linalg import extreme_eigenpairs, leading_eigenpair, random_start

lanczos_module = sys.modules["flowmod.linalg.lanczos"]

SECOND = 24
"""Products of the second start."""


def random_pencil(n, seed, condition=1e2):
    """A symmetric indefinite `S` and a positive definite `M` of a given condition."""
    rng = np.random.default_rng(seed)
    s = rng.normal(size=(n, n))
    q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    m = (q * np.geomspace(1 / condition, 1, n)) @ q.T
    return (s + s.T) / np.sqrt(n), (m + m.T) / 2


@jax.jit
def dense_lanczos(s, m, start, most=300):
    factor = jax.scipy.linalg.cho_factor(m)

    def solve(g):
        return jax.scipy.linalg.cho_solve(factor, g)

    return leading_eigenpair(lambda d: s @ d, lambda d: m @ d, solve, start, most=most)


@functools.partial(jax.jit, static_argnames=("largest", "smallest", "most"))
def both_ends(s, m, start, rtol, largest, smallest, most=600):
    factor = jax.scipy.linalg.cho_factor(m)

    def solve(g):
        return jax.scipy.linalg.cho_solve(factor, g)

    ends = {"largest": largest, "smallest": smallest}
    return extreme_eigenpairs(lambda d: s @ d, lambda d: m @ d, solve, start, **ends, rtol=rtol, most=most)


def lanczos(s, m, most=300):
    s, m = jnp.asarray(s), jnp.asarray(m)
    return dense_lanczos(s, m, random_start(len(s), s.dtype), most)


@pytest.mark.parametrize("n", [1, 2, 17, 60, 300])
def test_the_largest_eigenvalue_of_a_pencil(n):
    s, m = random_pencil(n, seed=n)
    mode, expected = lanczos(s, m), scipy.linalg.eigh(s, m)
    np.testing.assert_allclose(mode.value, expected[0][-1], rtol=1e-8)
    assert mode.converged
    assert mode.products <= n + 1 + SECOND
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
    s, m = random_pencil(60, seed=2)
    assert abs(lanczos(s, m).value / np.linalg.eigvalsh(s)[-1] - 1) > 0.1


@pytest.mark.parametrize("c", [-2.5, 0.0, 3.0])
def test_a_multiple_of_the_metric_takes_one_product_of_each_start(c):
    _, m = random_pencil(60, seed=3)
    mode = lanczos(c * m, m)
    np.testing.assert_allclose(mode.value, c, rtol=1e-12, atol=0)
    assert mode.products == 3  # with that of the residual
    assert mode.converged


def test_an_invariant_subspace_ends_the_search():
    """Three distinct eigenvalues among sixty: three products a start, and the largest although its copies are many."""
    _, m = random_pencil(60, seed=4, condition=10)
    root = scipy.linalg.sqrtm(m).real
    q = np.linalg.qr(np.random.default_rng(5).normal(size=(60, 60)))[0]
    s = root @ (q * np.repeat([-5.0, 0.5, 2.0], [30, 20, 10])) @ q.T @ root
    mode = lanczos((s + s.T) / 2, m)
    np.testing.assert_allclose(mode.value, 2.0, rtol=1e-10)
    assert mode.products == 7


@settings(max_examples=25)
@given(n=st.sampled_from([1, 2, 17]), seed=st.integers(0, 2**32 - 1), shift=st.floats(-20, 20))
def test_a_shift_moves_the_eigenvalue(n, seed, shift):
    s, m = random_pencil(n, seed)
    scale = np.abs(scipy.linalg.eigh(s, m, eigvals_only=True)).max() + abs(shift)
    np.testing.assert_allclose(lanczos(s + shift * m, m).value, lanczos(s, m).value + shift, atol=1e-10 * scale)


@settings(max_examples=25)
@given(n=st.sampled_from([2, 17, 60]), seed=st.integers(0, 2**32 - 1))
def test_a_value_is_never_above_the_largest_eigenvalue(n, seed):
    s, m = random_pencil(n, seed)
    values = scipy.linalg.eigh(s, m, eigvals_only=True)
    start = jnp.asarray(np.random.default_rng(seed).normal(size=n))
    few = dense_lanczos(jnp.asarray(s), jnp.asarray(m), start, most=2)
    assert few.value <= values[-1] + 1e-10 * np.abs(values).max()
    assert np.abs(values - few.value).min() <= few.residual + 1e-10 * np.abs(values).max()


def test_too_few_products_are_reported():
    mode = lanczos(*random_pencil(60, seed=6), most=5)
    assert not mode.converged
    assert mode.products == 6
    assert mode.residual > 1e-3 * mode.scale
    with pytest.raises(RuntimeError, match=r"did not converge in 6 products: the residual is .* Take more"):
        mode.require_converged("Take more.")


@pytest.mark.parametrize("where", ["s", "m"])
def test_nan_in_is_nan_out(where):
    s, m = random_pencil(60, seed=7)
    {"s": s, "m": m}[where][4, 4] = np.nan
    mode = lanczos(s, m)
    assert np.isnan(mode.value)
    assert not mode.converged
    mode.require_converged("")  # what is not a number is no matter of convergence


def test_float32():
    s, m = random_pencil(60, seed=8, condition=10)
    mode = lanczos(s.astype(np.float32), m.astype(np.float32))
    assert mode.converged
    assert {leaf.dtype for leaf in (mode.value, mode.vector, mode.residual, mode.scale)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(mode.value, scipy.linalg.eigh(s, m, eigvals_only=True)[-1], rtol=1e-4)


def test_many_pencils_together():
    pencils = [random_pencil(17, seed) for seed in range(4)]
    s, m = (jnp.asarray(np.stack(part)) for part in zip(*pencils, strict=True))
    start = random_start(17, s.dtype)

    def value(pencil):
        return dense_lanczos(*pencil, start).value

    expected = [scipy.linalg.eigh(*pencil, eigvals_only=True)[-1] for pencil in pencils]
    np.testing.assert_allclose(jax.vmap(value)((s, m)), expected, rtol=1e-10)


def test_a_step_is_one_product_of_each_kind():
    """All three once a step, and once for the residual, where `M` is taken twice; counted where loops run in Python."""
    s, m = random_pencil(12, seed=9)
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
            random_start(12, jnp.float64),
        )
    products = int(mode.products)
    assert counts == {"S": products, "M": products + 1, "solve": products}


@pytest.mark.parametrize(("n", "k"), [(7, 7), (300, 4)])
def test_both_ends(n, k):
    """As many as there are in the smallest case; more than the basis holds, so with restarts, in the largest one."""
    s, m = random_pencil(n, seed=n)
    pairs = both_ends(s, m, random_start(n, jnp.float64), 1e-7, k, k)
    values = scipy.linalg.eigh(s, m, eigvals_only=True)
    np.testing.assert_allclose(pairs.values, [*values[::-1][:k], *values[:k]], atol=1e-9 * float(pairs.scale))
    assert pairs.converged
    assert (pairs.residuals <= 1e-7 * pairs.scale).all()
    missing = np.linalg.solve(m, s @ pairs.vectors.T) - pairs.vectors.T * pairs.values[None]
    np.testing.assert_allclose(
        pairs.residuals, np.sqrt(np.sum(missing * (m @ missing), axis=0)), atol=1e-11 * pairs.scale
    )
    largest, smallest = pairs.vectors[:k], pairs.vectors[k:]
    for vectors in (largest, smallest):
        np.testing.assert_allclose(vectors @ m @ vectors.T, np.eye(k), atol=1e-6)


def test_a_start_from_what_is_nearly_known_takes_fewer_products():
    s, m = random_pencil(300, seed=11)
    start = random_start(300, jnp.float64)
    cold = both_ends(s, m, start, 1e-6, 4, 4)
    moved = s + 1e-4 * random_pencil(300, seed=12)[0]
    warm, again = (both_ends(moved, m, x, 1e-6, 4, 4) for x in (cold.vectors.sum(0), start))
    np.testing.assert_allclose(warm.values, again.values, rtol=1e-9)
    assert warm.converged
    assert again.converged
    assert warm.products < again.products - 8


# --- two hundred pencils, and starts that are blind to what is wanted ---

N = 120
WANTED = 2


def spread(rng):
    return rng.normal(size=N)


def clustered(rng):
    """Five at the top within a ten-thousandth of the scale, the others spread."""
    return np.concatenate([rng.uniform(-1, 0.5, N - 5), 1 - 1e-4 * rng.uniform(size=5)])


def degenerate(rng):
    return np.concatenate([rng.uniform(-1, 0.5, N - 4), np.ones(4)])


def outlying(rng):
    return np.concatenate([rng.uniform(-1, 0, N - 1), [1.0]])


def dense_end(rng):
    """The wanted ones are the end of a continuum."""
    return np.linspace(-1, 1, N)


FAMILIES = (spread, clustered, degenerate, outlying, dense_end)
BLINDNESS = (0.0, 0.0, 1e-14, 1e-8)
"""What the start has of the wanted eigenvectors, one for each case of a family."""


def pencil_of(eigenvalues, rng):
    """A pencil with these eigenvalues, and its eigenvectors as columns."""
    _, m = random_pencil(N, seed=int(rng.integers(2**31)))
    q = np.linalg.qr(rng.normal(size=(N, N)))[0]
    vectors = np.linalg.solve(np.linalg.cholesky(m).T, q)
    s = (m @ vectors) * eigenvalues @ (m @ vectors).T
    return (s + s.T) / 2, m, vectors


def cases():
    """180 random starts and 20 that are orthogonal, or nearly so, to all eigenvectors of the largest eigenvalues."""
    rng = np.random.default_rng(20260611)
    found = []
    for number in range(200):
        family = FAMILIES[number % len(FAMILIES)]
        eigenvalues = np.sort(family(rng))
        s, m, vectors = pencil_of(eigenvalues, rng)
        weights = rng.normal(size=N)
        if number >= 180:
            top = eigenvalues >= eigenvalues[-1] - 1e-3
            weights[top] *= BLINDNESS[(number - 180) // len(FAMILIES)]
        found.append((s, m, vectors @ weights, eigenvalues))
    return [np.stack(part) for part in zip(*found, strict=True)]


@functools.partial(jax.jit, static_argnames="largest")
def many(s, m, start, rtol, largest):
    return jax.lax.map(lambda case: both_ends(*case, rtol, largest, 1), (s, m, start))


def missed(pairs, eigenvalues, slack=1e-12):
    """The cases in which a residual does not cover the error, and the largest error of each."""
    true = np.concatenate([eigenvalues[:, ::-1][:, :WANTED], eigenvalues[:, :1]], axis=1)
    error = np.abs(np.asarray(pairs.values) - true)
    covered = (error <= np.asarray(pairs.residuals) + slack * np.abs(eigenvalues).max(axis=1)[:, None]).all(axis=1)
    return ~covered, error.max(axis=1)


def test_two_hundred_pencils_of_which_twenty_start_blind():
    *pencils, eigenvalues = cases()
    pairs = many(*pencils, 1e-6, WANTED)
    wrong, error = missed(pairs, eigenvalues)
    converged = np.asarray(pairs.converged)
    print(
        f"{converged.sum()} of 200 converged, with errors up to {error[converged].max():.1e}; residuals miss the true "
        f"error in {(wrong & converged).sum()} of them, and in {(wrong & ~converged).sum()} of the others; "
        f"of 20 blind starts {converged[180:].sum()} converged, and residuals miss in {wrong[180:].sum()}"
    )
    assert converged.sum() >= 190
    assert (wrong & converged).sum() <= 2
    assert (wrong & ~converged).sum() <= 5
    assert (wrong & converged)[180:].sum() == 0
    # The residual is a bound for *some* eigenvalue in all of them, whatever the start.
    distance = np.abs(np.asarray(pairs.values)[:, :, None] - eigenvalues[:, None]).min(axis=2)
    assert (distance <= np.asarray(pairs.residuals) + 1e-12).all()


def test_negative_control_without_a_second_start_blind_starts_are_believed(monkeypatch):
    """The same cases if the search ends with its first small residuals: they say nothing of what was not seen."""
    judge = lanczos_module._judge

    def hasty(search, plan):
        judged = judge(search, plan)
        settled = judged.again == 0
        return judged._replace(agreed=judged.agreed | settled, done=judged.done | settled)

    *pencils, eigenvalues = (part[180:] for part in cases())
    jax.clear_caches()
    monkeypatch.setattr(lanczos_module, "_judge", hasty)
    pairs = many(*pencils, 1e-6, WANTED)
    wrong, error = missed(pairs, eigenvalues)
    wrong &= np.asarray(pairs.converged)
    jax.clear_caches()
    print(f"{wrong.sum()} of 20 are wrong by up to {error[wrong].max():.2g}")
    assert wrong.sum() >= 5


def test_a_search_stays_where_its_products_lead():
    """A pencil of a part of the numbers, with a metric that is none elsewhere: a second start must not leave it."""
    s, m = random_pencil(40, seed=21)
    part = np.arange(40) < 9
    inside = np.where(part, 1.0, 0.0)
    inverse = np.linalg.inv(m[np.ix_(part, part)])

    def solve(g):
        return jnp.zeros_like(g).at[:9].set(inverse @ g[:9])

    s = s - 30 * m  # so that a spurious zero would be the largest one
    products = (lambda d: inside * (s @ (inside * d)), lambda d: inside * (m @ (inside * d)), solve)
    mode = leading_eigenpair(*products, inside * random_start(40, jnp.float64))
    expected = scipy.linalg.eigh(s[:9, :9], m[:9, :9], eigvals_only=True)[-1]
    np.testing.assert_allclose(mode.value, expected, rtol=1e-9)
    assert mode.converged
    np.testing.assert_array_equal(mode.vector[9:], 0)


def test_the_memory_of_a_search_is_that_of_two_dozen_vectors():
    n = 10**5
    weights, start = (jax.ShapeDtypeStruct((n,), jnp.float64) for _ in range(2))

    @jax.jit
    def search(weights, start):
        return extreme_eigenpairs(lambda d: weights * d, lambda d: d, lambda g: g, start, rtol=1e-3)

    memory = search.lower(weights, start).compile().memory_analysis()
    assert memory.temp_size_in_bytes <= 25 * 8 * n
