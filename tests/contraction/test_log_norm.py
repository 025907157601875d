"""Matrix measures: against their limit, naive sums, and rates in the norms 1 and infinity by finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import flowmod as fm
from tests.contraction.test_rate import SYSTEM, theta

NORMS = (1, 2, np.inf)
RNG = np.random.default_rng(14)


def naive(matrix, norm):
    """The measures as a textbook has them, in loops."""
    n = len(matrix)
    if norm == 2:
        return max(np.linalg.eigvals((matrix + matrix.T) / 2).real)
    lines = matrix.T if norm == 1 else matrix
    return max(lines[k, k] + sum(abs(lines[k, j]) for j in range(n) if j != k) for k in range(n))


def limit(matrix, norm, h=1e-7):
    """`(|expm(h A)| - 1) / h`: the slope that a measure is."""
    return (np.linalg.norm(scipy.linalg.expm(h * matrix), norm) - 1) / h


def weighted(factor, matrix):
    factor = np.diag(factor) if factor.ndim == 1 else factor
    return factor @ matrix @ np.linalg.inv(factor)


@pytest.fixture(scope="module")
def cases():
    """500 matrices with a full factor and with weights, and their measures, all in one program."""
    matrices = RNG.normal(size=(500, 4, 4))
    factors, weights = RNG.normal(size=(500, 4, 4)) + 3 * np.eye(4), RNG.uniform(0.1, 3, size=(500, 4))

    @jax.jit
    def measures(matrix, factor, weight):
        choices = (None, factor, weight)
        return jnp.stack([jnp.stack([fm.log_norm(matrix, norm, choice) for norm in NORMS]) for choice in choices])

    found = jax.lax.map(lambda case: measures(*case), tuple(jnp.asarray(a) for a in (matrices, factors, weights)))
    return matrices, (np.broadcast_to(np.eye(4), (500, 4, 4)), factors, weights), np.asarray(found)


def test_against_naive_sums_and_the_limit(cases):
    matrices, factors, found = cases
    for kind, choice in enumerate(factors):
        for matrix, factor, measures in zip(matrices, choice, found[:, kind], strict=True):
            similar = weighted(factor, matrix)
            np.testing.assert_allclose(measures, [naive(similar, norm) for norm in NORMS], rtol=1e-9, atol=1e-9)
    for matrix, factor, measures in zip(matrices[:50], factors[1], found[:, 1], strict=False):
        slopes = [limit(weighted(factor, matrix), norm) for norm in NORMS]
        np.testing.assert_allclose(measures, slopes, atol=1e-4)


def test_no_flow_grows_faster_and_no_measure_is_below_the_abscissa(cases):
    matrices, factors, found = cases
    for matrix, factor, measures in zip(matrices[:100], factors[2], found[:, 2], strict=False):
        assert (measures >= np.linalg.eigvals(matrix).real.max() - 1e-12).all()
        for t in (0.1, 1.0, 3.0):
            flown = weighted(factor, scipy.linalg.expm(t * matrix))
            for norm, measure in zip(NORMS, measures, strict=True):
                assert np.linalg.norm(flown, norm) <= np.exp(measure * t) * (1 + 1e-10)


def test_broken_measures_are_seen(cases):
    """Rows for columns, and the weights the wrong way round: the limit tells."""
    matrices, factors, found = cases
    exchanged, inverse = [], []
    for matrix, factor, measures in zip(matrices[:50], factors[2], found[:, 2], strict=False):
        slope = limit(weighted(factor, matrix), 1)
        np.testing.assert_allclose(measures[0], slope, atol=1e-4)
        exchanged.append(abs(measures[2] - slope))
        inverse.append(abs(naive(weighted(1 / factor, matrix), 1) - slope))
    assert min(np.median(exchanged), np.median(inverse)) > 0.1


def test_rates_in_the_norms_one_and_infinity_with_a_factor_of_state_and_time(oracle):
    """Oracle o03: its literal `(Theta' + Theta J) Theta^-1`, with sympy derivatives."""
    for row in oracle("o03_contraction_state_metric")["results"]["trajectory"]:
        x, F = jnp.asarray(row["x"]), np.asarray(row["F_given_Theta"])
        for norm in (1, np.inf):
            rate = fm.contraction_rate(SYSTEM, x, row["t"], norm=norm, factor=theta)
            np.testing.assert_allclose(rate, -naive(F, norm), atol=1e-9)


def cubic(t, x):
    return np.asarray([-x[0] - x[0] ** 3 + x[1], -x[0] - 2 * x[1] + 0.5 * np.sin(t)])


def diagonal(x):
    return np.asarray([1 + 0.5 * x[0] ** 2, np.exp(0.3 * x[1])])


def literal(t, x, moving=True, h=1e-6):
    """`(Theta' + Theta J) Theta^-1` of the diagonal metric by central differences."""
    J = np.stack([(cubic(t, x + h * e) - cubic(t, x - h * e)) / (2 * h) for e in np.eye(2)], axis=1)
    factor, v = np.sqrt(diagonal(x)), cubic(t, x)
    rate = (np.sqrt(diagonal(x + h * v)) - np.sqrt(diagonal(x - h * v))) / (2 * h)
    return (moving * np.diag(rate) + np.diag(factor) @ J) @ np.diag(1 / factor)


def test_a_diagonal_metric_has_its_square_root_as_factor_and_moves_along_the_flow():
    metric = fm.DiagonalMetric(lambda x, args: jnp.stack([1 + 0.5 * x[0] ** 2, jnp.exp(0.3 * x[1])]))
    ts, xs = RNG.uniform(0, 6, size=20), RNG.normal(size=(20, 2))

    @jax.jit
    def rates(ts, xs):
        def one(point):
            return jnp.stack([fm.contraction_rate(SYSTEM, point[1], point[0], metric=metric, norm=p) for p in NORMS])

        return jax.lax.map(one, (ts, xs))

    found = rates(jnp.asarray(ts), jnp.asarray(xs))
    expected, still = (
        [[-naive(literal(t, x, moving), norm) for norm in NORMS] for t, x in zip(ts, xs, strict=True)]
        for moving in (True, False)
    )
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert (np.abs(np.asarray(found) - still).max(0) > 0.1).all()  # the motion is not small
    run = fm.simulate(SYSTEM, jnp.asarray([1.5, -1.0]), ts=np.linspace(0.0, 2.0, 6))
    expected = [-naive(literal(t, np.asarray(x)), 1) for t, x in zip(run.ts, run.ys, strict=True)]
    np.testing.assert_allclose(fm.contraction_rate(SYSTEM, run, metric=metric, norm=1), expected, atol=1e-7)


def test_the_norms_of_a_euclidean_state_by_any_of_their_names():
    """J = [[-2, 3], [1, -5]]: columns -1 and -2, rows 1 and -4."""
    flow = fm.VectorField(lambda t, y, args: jnp.stack([-2 * y[0] + 3 * y[1], y[0] - 5 * y[1]]))
    turn, weights = np.asarray([[0.6, -0.8], [0.8, 0.6]]), np.asarray([1 / 3, 1.0])

    @jax.jit
    def rates(y):
        infinities = (np.inf, jnp.inf, float("inf"), np.float64("inf"))
        choices = [{"norm": 1}, *({"norm": p} for p in infinities), {"norm": np.inf, "factor": weights}]
        choices += [{"factor": turn}, {}, {"norm": 1, "factor": turn}]
        return jnp.stack([fm.contraction_rate(flow, y, **choice) for choice in choices])

    one, *infinities, scaled, turned, two, one_turned = rates(jnp.ones(2))
    np.testing.assert_allclose(one, 1.0)
    np.testing.assert_allclose(infinities, -1.0)
    np.testing.assert_allclose(scaled, 1.0)  # |x0| / 3 and |x1|: row one is -2 + 1, row two 3 - 5
    # A rotation leaves the rate in the norm 2 alone, and no other.
    np.testing.assert_allclose(turned, two, atol=1e-12)
    assert abs(one_turned - one) > 0.1
    single = fm.contraction_rate(flow, jnp.ones(2, dtype=jnp.float32), norm=1)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, 1.0, rtol=1e-6)


def test_measures_have_derivatives():
    gradient = jax.jit(jax.grad(lambda a: fm.log_norm(a, 1)))(jnp.asarray([[-2.0, 3.0], [1.0, -5.0]]))
    np.testing.assert_array_equal(gradient, [[1.0, 0.0], [1.0, 0.0]])


def test_what_has_no_measure_is_refused():
    eye = np.eye(2)
    for norm in (0, 3, "2", -np.inf, np.nan, True, None, np.ones(2)):
        with pytest.raises(ValueError, match=r"`norm` must be 1, 2 or `jnp.inf`, got"):
            fm.log_norm(eye, norm)
    with pytest.raises(ValueError, match=r"`norm` must be 1, 2 or `jnp.inf`, got 'fro'"):
        fm.contraction_rate(SYSTEM, jnp.ones(2), norm="fro")
    with pytest.raises(ValueError, match=r"`matrix` must be square, \(n, n\), got shape \(2, 3\)"):
        fm.log_norm(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"`factor` must be an \(2, 2\) matrix or \(2,\) weights, got shape \(3,\)"):
        fm.log_norm(eye, 1, np.ones(3))
    with pytest.raises(ValueError, match=r"`factor` must be positive weights"):
        fm.log_norm(eye, 1, np.asarray([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"`factor` must be invertible"):
        fm.log_norm(eye, 1, np.ones((2, 2)))
    for norm in NORMS:
        # LAPACK's largest eigenvalue of this matrix is 1.
        assert np.isnan(fm.log_norm(np.asarray([[np.nan, 0.0], [0.0, 1.0]]), norm))
    assert np.isnan(jax.jit(fm.log_norm, static_argnums=1)(eye, 1, jnp.asarray([1.0, -1.0])))


def test_these_norms_need_to_know_the_factor():
    metric = fm.ConstantMetric(np.asarray([[2.0, 0.5], [0.5, 1.0]]))
    with pytest.raises(ValueError, match=r"need a diagonal metric or a `factor`, but the metric is a ConstantMetric"):
        fm.contraction_rate(SYSTEM, jnp.ones(2), metric=metric, norm=1)
    own = fm.GradientFlow(lambda y, args: jnp.sum(y**2), metric)
    with pytest.raises(ValueError, match=r"a rotation changes them"):
        fm.contraction_rate(own, jnp.ones(2), norm=jnp.inf)
    with pytest.raises(ValueError, match=r'`method="lanczos"` takes `norm=2`'):
        fm.contraction_rate(SYSTEM, jnp.ones(2), norm=1, method="lanczos")
    negative = fm.DiagonalMetric(lambda y, args: y)
    assert np.isnan(
        jax.jit(lambda y: fm.contraction_rate(SYSTEM, y, metric=negative, norm=1))(jnp.asarray([1.0, -1.0]))
    )
