"""Contraction of explicit Euler: limits, best steps and factors by brute force over random matrices."""

import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm

CASES = 200
NORMS = (1, 2, np.inf)
FIELD = fm.VectorField(lambda t, y, A: A @ y)


def measure(A, p):
    """`mu_p`, the slope of `|I + h A|` at `h = 0`: for 1 and infinity a quotient, as long as `h` is small."""
    if p == 2:
        return np.linalg.eigvalsh((A + A.T) / 2)[-1]
    h = 0.5 / (1 + np.abs(np.diag(A)).max())
    return (np.linalg.norm(np.eye(len(A)) + h * A, p) - 1) / h


def contracting(rng, p, symmetric=False):
    """A random matrix with a negative measure."""
    n = int(rng.integers(2, 6))
    A = rng.normal(size=(n, n)) * rng.choice([0.1, 1, 3], size=(n, n))
    A = (A + A.T) / 2 if symmetric else A
    return A - (measure(A, p) + rng.uniform(0.05, 3)) * np.eye(n)


def constants(A, p, kind):
    return fm.EulerContraction(-measure(A, p), np.linalg.norm(A, p), kind)


@pytest.mark.parametrize(
    ("p", "symmetric", "kind"),
    [
        (2, False, "euclidean"),
        (2, True, "exact"),
        (1, False, "exact"),
        (np.inf, False, "exact"),
        (1, False, "any"),
        (2, False, "any"),
        (np.inf, False, "any"),
    ],
)
def test_no_step_below_the_limit_expands_and_no_factor_is_exceeded(p, symmetric, kind):
    rng = np.random.default_rng(1)
    for _ in range(CASES):
        A = contracting(rng, p, symmetric)
        euler = constants(A, p, kind)
        steps = np.append(rng.uniform(0, 1.5, size=8), [1 - 1e-9, euler.best_step / euler.limit]) * euler.limit
        norms = [np.linalg.norm(np.eye(len(A)) + h * A, p) for h in steps]
        bounds = [euler.factor_at(h) for h in steps]
        assert (np.array(norms) <= np.array(bounds) * (1 + 1e-12)).all()
        assert (np.array(norms)[steps < euler.limit] < 1).all()
        assert euler.factor <= min(bounds) * (1 + 1e-12)
        if kind == "exact":
            np.testing.assert_allclose(norms, bounds, rtol=1e-10)
            assert np.linalg.norm(np.eye(len(A)) + 1.0001 * euler.limit * A, p) > 1


@pytest.mark.parametrize("p", [1, np.inf])
def test_up_to_the_largest_diagonal_the_factor_is_one_and_the_measure(p):
    rng = np.random.default_rng(2)
    for _ in range(CASES):
        A = rng.normal(size=(4, 4))  # contracting or not
        h = rng.uniform(0, 1) / np.abs(np.diag(A)).max()
        mu, norm = measure(A, p), np.linalg.norm(A, p)
        np.testing.assert_allclose(np.linalg.norm(np.eye(4) + h * A, p), 1 + h * mu, rtol=1e-12)
        np.testing.assert_allclose(fm.EulerContraction(-mu, norm, "exact").factor_at(h), 1 + h * mu, rtol=1e-12)


def test_the_euclidean_bound_is_attained():
    """By a decay with a rotation: no smaller factor follows from the two constants."""
    for c, turn in ((1.0, 0.0), (0.3, 2.0), (2.0, 5.0)):
        A = np.array([[-c, -turn], [turn, -c]])
        euler = constants(A, 2, "euclidean")
        for h in (0.1 * euler.limit, euler.best_step, 1.3 * euler.limit):
            np.testing.assert_allclose(np.linalg.norm(np.eye(2) + h * A, 2), euler.factor_at(h), atol=1e-12)
        np.testing.assert_allclose(euler.factor, np.sqrt(1 - (c / euler.lipschitz) ** 2), atol=1e-7)
        # Negative control: with the limit of symmetric matrices it would expand.
        assert turn == 0 or np.linalg.norm(np.eye(2) + 0.99 * 2 / euler.lipschitz * A, 2) > 1


def test_closed_forms_of_the_best_steps():
    grid = np.linspace(1e-6, 3, 300_001)
    for kind in ("exact", "euclidean", "any"):
        euler = fm.EulerContraction(0.8, 2.0, kind)
        factors = {
            "exact": np.maximum(1 - 0.8 * grid, 2 * grid - 1),
            "euclidean": np.sqrt(1 - 1.6 * grid + 4 * grid**2),
            "any": (1 + 4 * grid**2) / (1 + 0.8 * grid),
        }[kind]
        assert euler.best_step == pytest.approx(grid[factors.argmin()], abs=2e-5)
        assert euler.factor == pytest.approx(factors.min(), abs=1e-5)
        assert euler.limit == pytest.approx(grid[factors < 1][-1], abs=2e-5)


def test_what_does_not_contract_has_no_step():
    for kind in ("exact", "euclidean", "any"):
        euler = fm.EulerContraction(-0.5, 2.0, kind)
        assert (euler.limit, euler.best_step, euler.factor) == (0.0, 0.0, 1.0)
        assert "no step contracts" in str(euler)
        unknown = fm.EulerContraction(np.nan, 2.0, kind)
        assert np.isnan([unknown.limit, unknown.best_step, unknown.factor]).all()
    assert fm.EulerContraction(-0.5, 2.0).factor_at(3.0) == np.inf


# --- measured on flows ---


def test_measured_at_a_state_in_weighted_norms():
    rng = np.random.default_rng(4)
    theta = rng.normal(size=(3, 3)) + 3 * np.eye(3)
    weights = np.array([1.0, 2.0, 0.5])
    for p in NORMS:
        for factor, full in ((None, np.eye(3)), (weights, np.diag(weights)), (theta, theta)):
            A = np.linalg.solve(full, contracting(np.random.default_rng(7), p)[:3, :3] @ full)
            F = full @ A @ np.linalg.inv(full)
            euler = fm.euler_contraction(FIELD, jnp.ones(3), p, factor=factor, args=jnp.asarray(A))
            np.testing.assert_allclose([euler.rate, euler.lipschitz], [-measure(F, p), np.linalg.norm(F, p)], rtol=1e-9)
            assert euler.kind == ("euclidean" if p == 2 else "exact")


def test_a_gradient_flow_is_symmetric_in_its_own_metric(oracle):
    inputs = oracle("o10_step_limits")["inputs"]
    H, M = jnp.asarray(inputs["H"]), np.asarray(inputs["M"])
    flow = fm.GradientFlow(lambda y, args: y @ H @ y / 2, fm.ConstantMetric(M))
    euler = fm.euler_contraction(flow, jnp.ones(2))
    assert euler.kind == "exact"
    np.testing.assert_allclose(euler.limit, oracle("o10_step_limits")["results"]["euler_limit"], rtol=1e-12)
    optimal = oracle("o10_step_limits")["results"]["gd_optimal"]
    np.testing.assert_allclose([euler.best_step, euler.factor], [optimal["h"], optimal["rate"]], rtol=1e-12)
    # In the plain norm the same flow is not symmetric, and less is known.
    plain = fm.euler_contraction(flow, jnp.ones(2), factor=np.ones(2))
    assert plain.kind == "euclidean"
    assert plain.limit < euler.limit
    # Its metric is diagonal, so that the other norms have a factor too.
    assert fm.euler_contraction(flow, jnp.ones(2), np.inf).kind == "exact"


def test_along_a_trajectory_the_worst_of_all_states_counts():
    flow = fm.VectorField(lambda t, y, args: -y - y**3)
    run = fm.simulate(flow, jnp.asarray([1.5, -0.5]), 1.0, ts=np.linspace(0, 1, 5))
    slopes = 1 + 3 * np.asarray(run.ys) ** 2
    euler = fm.euler_contraction(flow, run)
    np.testing.assert_allclose([euler.rate, euler.lipschitz], [slopes.min(), slopes.max()], rtol=1e-12)
    assert "below 0.2581 contract" in str(euler)
    undefined = fm.VectorField(lambda t, y, args: -jnp.sqrt(y))
    assert np.isnan(fm.euler_contraction(undefined, run).limit)


def test_one_state_that_is_not_symmetric_is_enough():
    """And each Jacobian is that of its own time: `J(t) = [[-1, t], [0, -1]]` is symmetric at the start only."""
    flow = fm.VectorField(lambda t, y, args: -y + t * jnp.stack([y[1], 0 * y[0]]))
    euler = fm.euler_contraction(flow, fm.simulate(flow, jnp.ones(2), 1.0, ts=np.linspace(0, 1, 3)))
    assert euler.kind == "euclidean"
    assert euler.rate == pytest.approx(0.5, rel=1e-9)


def test_wrong_input_is_named():
    y = jnp.ones(2)
    curved = fm.GradientFlow(lambda y, args: jnp.sum(y**2), fm.DenseMetric(lambda y, args: jnp.eye(2) * (1 + y @ y)))
    full = fm.GradientFlow(lambda y, args: jnp.sum(y**2), fm.ConstantMetric(np.asarray([[2.0, 1.0], [1.0, 2.0]])))
    with pytest.raises(ValueError, match="`factor` must be given, because the metric of the flow, a DenseMetric"):
        fm.euler_contraction(curved, y)
    mass = fm.InertialFlow(lambda y, args: jnp.sum(y**2), fm.ConstantMetric(2 * np.eye(2)), damping=1.0)
    with pytest.raises(ValueError, match="`factor` must be given, because the metric of this InertialFlow"):
        fm.euler_contraction(mass, (y, y))
    with pytest.raises(ValueError, match=r"`factor` must be given for `norm=1`.*not diagonal"):
        fm.euler_contraction(full, y, 1)
    with pytest.raises(ValueError, match=r"`factor` must be an \(2, 2\) matrix or \(2,\) weights"):
        fm.euler_contraction(full, y, factor=np.ones(3))
    with pytest.raises(ValueError, match="`norm` must be 1, 2"):
        fm.euler_contraction(full, y, 3)
    with pytest.raises(ValueError, match="`flow` must have a finite Jacobian at `y`"):
        fm.euler_contraction(fm.VectorField(lambda t, y, args: jnp.sqrt(y)), -y)
    with pytest.raises(ValueError, match='`kind` must be "exact", "euclidean" or "any"'):
        fm.EulerContraction(1.0, 2.0, "symmetric")
    with pytest.raises(ValueError, match="`lipschitz` must be at least 3, the modulus of the rate, got 2"):
        fm.EulerContraction(3.0, 2.0)
    for wrong in ("1.0", np.ones(2), np.inf, None, True):
        with pytest.raises(ValueError, match="`rate` must be a number in 1/time"):
            fm.EulerContraction(wrong, 2.0)
