"""Fitted metrics: known optima, and rates that no other metric beats, against SciPy's generalised eigenvalues."""

import importlib

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

import flowmod as fm
from flowmod.contraction._lmi import MetricInequality

RNG = np.random.default_rng(28)


def jacobian_of(t, y, jacobians):
    """Time picks the Jacobian, so that one program serves all cases of a size."""
    return jacobians[jnp.asarray(t).astype(int)] @ y


FLOW = fm.VectorField(jacobian_of)


def in_three(jacobian):
    """The Jacobian with a number beside it that decays fast: the best rate stays the same, and so does the program."""
    return scipy.linalg.block_diag(jacobian, *([[-3.0]] * (3 - len(jacobian))))


def fit(*jacobians, **how):
    padded = jnp.asarray([in_three(j) for j in (*jacobians, *[jacobians[0]] * (20 - len(jacobians)))])
    return fm.fit_metric(FLOW, jnp.ones((len(jacobians), 3)), np.arange(len(jacobians)), padded, **how)


def rate(p, jacobian):
    """The rate of a linear flow in a constant metric, by the QZ algorithm: no Cholesky factor."""
    s = (p @ jacobian + jacobian.T @ p) / 2
    return -scipy.linalg.eigvals(s, p).real.max()


@pytest.fixture
def no_solver(monkeypatch):
    """Where nothing needs to be solved, nothing is."""

    def refuse(*args):
        raise AssertionError("the solver was asked")

    monkeypatch.setattr(MetricInequality, "__init__", refuse)


SHEAR = np.asarray([[-1.0, 10.0], [0.0, -1.5]])


def best_by_search(jacobian, condition):
    """The best rate of all 2 x 2 metrics: a turn and a ratio of axes, by a grid and a simplex."""

    def worst(parameters):
        angle, stretch = parameters
        turn = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        ratio = np.exp(np.log(condition) * (0.5 + 0.5 * np.sin(stretch)))
        return -rate(turn @ np.diag([1.0, ratio]) @ turn.T, jacobian)

    starts = [(a, s) for a in np.linspace(0, np.pi, 9) for s in (-1, 0, 1)]
    options = {"xatol": 1e-10, "fatol": 1e-13, "maxiter": 2000}
    best = min(starts, key=worst)
    return -scipy.optimize.minimize(worst, best, method="Nelder-Mead", options=options).fun


def test_a_shear_comes_to_its_abscissa_as_the_condition_grows():
    """Against a search through all metrics of that condition; from the eigenvectors' own one on it is the abscissa."""
    rates, shear = [], in_three(SHEAR)
    for condition in (2.0, 20.0, 1e4):
        found = fit(SHEAR, condition=condition)
        assert found.condition <= condition * (1 + 1e-6)
        assert found.rate <= found.bound <= found.rate + 3e-4
        np.testing.assert_allclose(found.rate, rate(np.asarray(found.metric.matrix), shear), atol=1e-9)
        rates.append(found.rate)
    searched = [best_by_search(SHEAR, condition) for condition in (2.0, 20.0)]
    np.testing.assert_allclose(rates, [*searched, 1.0], atol=3e-4)
    assert rates[0] < rates[1] < rates[2]
    # Of the metrics with this rate the best conditioned one comes back: here that of the eigenvectors (1, 0), (20, -1).
    cosine = 20 / np.sqrt(401)
    np.testing.assert_allclose(found.condition, (1 + cosine) / (1 - cosine), rtol=0.1)


def test_a_common_metric_of_two_jacobians():
    """`Theta^-1 (-c + skew) Theta` has the rate c in `Theta^T Theta`, and no metric gives more than the least c."""
    theta = np.asarray([[2.0, 0.7, 0.0], [0.0, 1.0, -0.4], [0.3, 0.0, 0.5]])
    skew = RNG.normal(size=(2, 3, 3))
    jacobians = [
        np.linalg.inv(theta) @ (s - s.T - c * np.eye(3)) @ theta for s, c in zip(skew, (0.8, 1.7), strict=True)
    ]
    found = fit(*jacobians)
    np.testing.assert_allclose(found.rate, 0.8, atol=1e-3)
    assert found.index == 0
    assert found.condition <= np.linalg.cond(theta.T @ theta) * (1 + 1e-6)
    assert min(rate(np.eye(3), j) for j in jacobians) < 0.3


def test_no_metric_beats_the_bound_of_twenty_jacobians():
    centre = np.asarray([[-1.0, 2.0, 0.0], [0.0, -1.5, 1.0], [-0.5, 0.0, -2.0]])
    jacobians = centre + 0.3 * RNG.normal(size=(20, 3, 3))
    found, weights = fit(*jacobians, condition=50.0), fit(*jacobians, condition=50.0, structure="diagonal")
    for one in (found, weights):
        p = np.asarray(one.metric.matrix)
        np.testing.assert_allclose(one.rates, [rate(p, j) for j in jacobians], atol=1e-9)
        assert one.rate == one.rates[one.index] == one.rates.min()
        assert one.bound - one.rate < 1e-4
    assert found.bound > weights.bound > min(rate(np.eye(3), j) for j in jacobians)
    matrix = np.asarray(weights.metric.matrix)
    np.testing.assert_array_equal(matrix, np.diag(np.diag(matrix)))
    for _ in range(500):
        near = np.asarray(found.metric.matrix) + RNG.normal(size=(3, 3)) * 10.0 ** RNG.uniform(-4, 0)
        near = near @ near.T
        scales = np.diag(np.diag(matrix) * np.exp(RNG.normal(size=3) * 10.0 ** RNG.uniform(-3, 0)))
        for other, bound in ((near, found.bound), (scales, weights.bound)):
            if np.linalg.cond(other) <= 50:
                assert min(rate(other, j) for j in jacobians) <= bound + 1e-7


def test_populations_with_skew_feedback_contract_in_weights():
    """Excitation and inhibition, J = [[J1, B], [-4 B^T, J2]]: -2.03 in the Euclidean metric, 1 with a weight of 4."""
    j1, b = np.asarray([[-1.0, 0.3], [-0.3, -2.0]]), np.asarray([[2.0], [1.0]])
    jacobian = np.block([[j1, b], [-4 * b.T, np.full((1, 1), -1.5)]])
    np.testing.assert_allclose(rate(np.eye(3), jacobian), -2.0293439, atol=1e-7)
    weights = fit(jacobian, structure="diagonal")
    np.testing.assert_allclose(weights.rate, 1.0, atol=1e-4)
    np.testing.assert_allclose(np.diag(weights.metric.matrix), [4.0, 4.0, 1.0], rtol=0.01)
    full = fit(jacobian)
    np.testing.assert_allclose(full.rate, 1.3494778, atol=3e-4)  # minus the abscissa
    # The rate of the library is the one in this metric, and the scaling has a direction.
    y, args = jnp.ones(3), jnp.asarray(jacobian)[None]
    np.testing.assert_allclose(fm.contraction_rate(FLOW, y, args=args, metric=full.metric), full.rate, atol=1e-9)
    assert rate(np.linalg.inv(weights.metric.matrix), jacobian) < -2


def test_what_is_best_already_needs_no_solver(no_solver):
    normal = np.asarray([[-0.5, 3.0], [-3.0, -0.5]])
    found = fit(normal)
    np.testing.assert_allclose(found.metric.matrix, np.eye(3))
    np.testing.assert_allclose(found.rate, 0.5, atol=1e-12)
    cooperative = np.asarray([[-1.0, 0.3, 0.0], [5.0, -4.0, 0.1], [0.0, 0.4, -0.8]])
    weights = fm.perron_weights(cooperative)
    found = fit(cooperative, cooperative - 0.1 * np.eye(3))
    np.testing.assert_allclose(found.rate, weights.rate, rtol=1e-9)
    np.testing.assert_allclose(found.metric.matrix, np.diag(weights.metric / weights.metric.min()), rtol=1e-9)


def test_the_best_rate_may_be_negative(no_solver):
    found = fit(np.diag([1.0, -1.0]))
    np.testing.assert_allclose(found.rate, -1.0)
    assert "does NOT contract" in str(found)


def test_along_a_trajectory_the_worst_state_is_named(no_solver):
    flow = fm.VectorField(lambda t, y, args: {"u": -y["u"] * (1 + t), "v": -(2 + t) * y["v"]})
    run = fm.simulate(flow, {"u": 1.0, "v": 8.0}, ts=np.linspace(0, 3, 21))
    found = fm.fit_metric(flow, run)
    np.testing.assert_allclose(found.rates, 1 + run.ts)
    assert (found.index, found.time, found.condition) == (0, 0.0, 1.0)
    assert {name: float(value) for name, value in found.worst.items()} == {"u": 1.0, "v": 8.0}
    text = str(found)
    assert "rate   1 at the worst of 21" in text
    assert "number 0, t = 0, u = [1.], v = [8.]" in text
    assert "give `.metric` to `fm.certify`" in text


def test_single_precision_gives_the_rate_of_the_metric_that_is_returned():
    flow = fm.VectorField(lambda t, y, args: jnp.asarray(SHEAR, dtype=y.dtype) @ y)
    found = fm.fit_metric(flow, jnp.ones((1, 2), dtype=jnp.float32))
    np.testing.assert_allclose(found.rate, rate(np.asarray(found.metric.matrix, dtype=float), SHEAR), atol=1e-9)
    np.testing.assert_allclose(found.rate, 1.0, atol=1e-3)


def test_what_can_not_be_fitted_is_refused():
    states = jnp.ones((3, 2))
    with pytest.raises(ValueError, match=r'`structure` must be "full" or "diagonal", got \'banded\''):
        fm.fit_metric(FLOW, states, structure="banded")
    with pytest.raises(ValueError, match=r"`condition` must be a number from 1 to 1e\+08, got 0.5"):
        fm.fit_metric(FLOW, states, condition=0.5)
    with pytest.raises(ValueError, match=r"`rtol` must be a number from 1e-09 to 1, got nan"):
        fm.fit_metric(FLOW, states, rtol=np.nan)
    for bad in (jnp.asarray(1.0), {"u": jnp.ones(2), "v": jnp.ones(3)}, jnp.ones((0, 2))):
        with pytest.raises(ValueError, match=r"every float leaf has a leading axis of one length"):
            fm.fit_metric(FLOW, bad)
    with pytest.raises(ValueError, match=r"one for each of the 3 states, got shape \(2,\)"):
        fm.fit_metric(FLOW, states, np.zeros(2))
    with pytest.raises(ValueError, match=r"at most 50 numbers each, got 51"):
        fm.fit_metric(FLOW, jnp.ones((1, 51)))
    with pytest.raises(ValueError, match=r"no finite Jacobian at state 1, t = 1"):
        fit(SHEAR, SHEAR * np.nan)
    with pytest.raises(ValueError, match=r"got an Ensemble: take a member, `ensemble\[0\]`"):
        fm.fit_metric(FLOW, object.__new__(fm.Ensemble))


def test_a_solver_that_is_not_there_or_fails_says_what_to_do(monkeypatch):
    cvxpy = importlib.import_module("cvxpy")
    monkeypatch.setattr(cvxpy.Problem, "solve", lambda self, **how: None)
    with pytest.raises(RuntimeError, match=r"found no metric: .*Try a smaller `condition`, fewer states"):
        fit(SHEAR)

    def missing(name):
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=r"`cvxpy` is not installed.*pip install 'flowmod\[fit\]'"):
        fit(SHEAR)
    np.testing.assert_allclose(fit(-np.eye(2)).rate, 1.0)  # nothing to solve, nothing missing
