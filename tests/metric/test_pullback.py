"""The metric of a map: against explicit Jacobians, closed forms and the coordinates that it stands for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.zoo import rosenbrock, rosenbrock_residual

TREE = {"a": jnp.asarray([1.0, -0.5]), "b": jnp.asarray(0.25)}


def to_tree(y, args):
    return {"s": y["a"][0] * y["b"], "v": jnp.sin(y["a"]) + y["b"]}


def weights(z, args):
    return {"s": 1 + z["s"] ** 2, "v": jnp.asarray([2.0, 3.0])}


def naive_matrix(mass):
    """By finite differences of a complex step: `fn` is analytic."""
    x, step = np.array([1.0, -0.5, 0.25]), 1e-30

    def fn(x):
        return np.array([x[0] * x[2], np.sin(x[0]) + x[2], np.sin(x[1]) + x[2]])

    columns = [np.imag(fn(x + 1j * step * unit)) / step for unit in np.eye(3)]
    J, H = np.stack(columns, axis=1), np.diag([1 + fn(x)[0] ** 2, 2.0, 3.0])
    return J.T @ H @ J + np.diag(mass)


@pytest.mark.parametrize("mass", [0.0, 0.3, {"a": np.array([0.1, 0.2]), "b": 0.0}])
def test_the_matrix_is_that_of_the_explicit_jacobian(mass):
    metric = fm.PullbackMetric(to_tree, output=fm.DiagonalMetric(weights), mass=mass)
    numbers = np.full(3, mass) if isinstance(mass, float) else np.array([0.1, 0.2, 0.0])
    matrix = naive_matrix(numbers)
    np.testing.assert_allclose(metric(TREE).as_matrix(), matrix, rtol=1e-13)
    v = {"a": jnp.asarray([0.7, 1.1]), "b": jnp.asarray(-2.0)}
    flat_v = np.array([0.7, 1.1, -2.0])
    np.testing.assert_allclose(np.hstack(jax.tree.leaves(metric.flat(TREE, v))), matrix @ flat_v, rtol=1e-13)
    solved = np.hstack(jax.tree.leaves(metric.sharp(TREE, v)))
    np.testing.assert_allclose(solved, np.linalg.solve(matrix, flat_v), rtol=1e-12)
    assert fm.check_metric(metric, TREE).ok


def test_a_least_squares_flow_contracts_at_one_in_the_metric_of_its_residual(oracle):
    data = oracle("o24_pullback_metric_closed_forms")
    flow = fm.GradientFlow(rosenbrock, fm.PullbackMetric(lambda y, args: rosenbrock_residual(y)))
    for case in data["results"]["pullback"]:
        point = jnp.asarray(case["point"])
        np.testing.assert_allclose(flow.metric(point).as_matrix(), case["metric"], rtol=1e-12)
        for method in ("dense", "lanczos"):
            np.testing.assert_allclose(fm.contraction_rate(flow, point, method=method), 1.0, rtol=1e-9)
    mass = data["inputs"]["mu_damped"]
    damped = fm.GradientFlow(rosenbrock, fm.PullbackMetric(lambda y, args: rosenbrock_residual(y), mass=mass))
    for case in data["results"]["damped"]:
        rate = fm.contraction_rate(damped, jnp.asarray(case["point"]))
        np.testing.assert_allclose(rate, case["rate"], rtol=1e-9)


def test_a_rate_in_new_coordinates_is_the_rate_of_the_flow_written_in_them():
    """`x' = -x log x` is `z' = -z` in `z = log x`: rate 1 everywhere, and in `x` it is not."""
    flow = fm.VectorField(lambda t, x, args: -x * jnp.log(x))
    metric = fm.PullbackMetric(lambda x, args: jnp.log(x))
    for x in (0.05, 1.0, 30.0):
        np.testing.assert_allclose(fm.contraction_rate(flow, jnp.asarray([x]), metric=metric), 1.0, rtol=1e-12)
        np.testing.assert_allclose(fm.contraction_rate(flow, jnp.asarray([x])), 1 + np.log(x), rtol=1e-12)


def test_the_metric_of_the_outputs_may_move():
    """`diag(1 + t)` of `sinh y`, with its own mass, is `(1 + t) cosh^2 y + mass`."""
    output = fm.MovingMetric(lambda t, z, args: (1 + t) * jnp.eye(2))
    pulled = fm.PullbackMetric(lambda y, args: jnp.sinh(y), output, mass=0.1)
    whole = fm.MovingMetric(lambda t, y, args: jnp.diag((1 + t) * jnp.cosh(y) ** 2 + 0.1))
    y = jnp.asarray([1.0, 0.5])
    np.testing.assert_allclose(pulled.at(2.0)(y).as_matrix(), whole.at(2.0)(y).as_matrix(), rtol=1e-14)
    flow = fm.VectorField(lambda t, y, args: -y)
    rates = [fm.contraction_rate(flow, y, t=2.0, metric=metric) for metric in (pulled, whole)]
    np.testing.assert_allclose(*rates, rtol=1e-12)
    # Negative control: at another time it is another one; a metric that stands still is itself.
    assert abs(rates[0] - fm.contraction_rate(flow, y, t=0.0, metric=pulled)) > 0.01
    still = fm.PullbackMetric(lambda y, args: y)
    assert still.at(1.0) is still


def test_more_numbers_than_outputs_need_a_mass():
    metric = fm.PullbackMetric(lambda y, args: jnp.sum(y))
    with pytest.raises(ValueError, match=r"`J\^T H J \+ mass` must be positive definite.*Add a mass"):
        metric.sharp(jnp.ones(2), jnp.ones(2))
    assert np.isnan(jax.jit(lambda y: metric.sharp(y, y))(jnp.ones(2))).all()
    assert fm.check_metric(fm.PullbackMetric(lambda y, args: jnp.sum(y), mass=0.1), jnp.ones(2)).ok


def test_float32_stays_float32():
    y = jnp.asarray([1.0, 2.0], jnp.float32)
    metric = fm.PullbackMetric(lambda y, args: y**2, mass=1e-3)
    assert metric.flat(y, y).dtype == jnp.float32
    assert metric.sharp(y, y).dtype == jnp.float32


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"`fn` must be a function of \(y, args\)"):
        fm.PullbackMetric(lambda y: y)
    with pytest.raises(ValueError, match="`output` must be a metric, got ndarray"):
        fm.PullbackMetric(lambda y, args: y, output=np.eye(2))
    with pytest.raises(ValueError, match="`mass` must not be negative, got -1"):
        fm.PullbackMetric(lambda y, args: y, mass=-1.0)
    with pytest.raises(ValueError, match="`mass` must be a number or a tree like the state"):
        fm.PullbackMetric(lambda y, args: y, mass={"a": 1.0}).flat(jnp.ones(2), jnp.ones(2))
    with pytest.raises(ValueError, match=r"`mass` must be a number or of shape \(2,\), got shape \(3,\)"):
        fm.PullbackMetric(lambda y, args: y, mass=np.ones(3)).flat(jnp.ones(2), jnp.ones(2))
    with pytest.raises(ValueError, match=r"`mass` of the leaf 'a' must be a number or of shape \(2,\), got shape \(3,"):
        fm.PullbackMetric(to_tree, mass={"a": np.ones(3), "b": 0.1}).flat(TREE, TREE)
