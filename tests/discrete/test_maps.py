"""Stability maps and bifurcation diagrams: linear recursions, exact cycles of two, and the logistic map."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import flowmod as fm
from flowmod.discrete.maps._predicted import predicted_limits

CURVATURES = jnp.array([1.0, 4.0])


def bowl(y, args):
    return jnp.sum(CURVATURES.astype(y.dtype) * y**2) / 2


def growth_of_heavy_ball(step_size, momentum):
    """The larger modulus of the roots of `z^2 - (1 + b - h c) z + b`, over the curvatures `c`."""
    roots = [np.roots([1, -(1 + momentum - step_size * c), momentum]) for c in np.asarray(CURVATURES)]
    return np.abs(np.concatenate(roots)).max()


@pytest.fixture(scope="module")
def heavy_balls():
    flow = fm.GradientFlow(bowl)
    steps, momenta = np.linspace(0.06, 1.21, 24), np.linspace(0.0, 0.9, 10)

    def family(h, beta):
        return fm.discretize(flow, h, "heavy_ball", momentum=beta)

    return fm.stability_map(family, jnp.array([1.0, -0.5]), steps, momentum=momenta, updates=600)


def test_the_region_of_stability_ends_at_the_predicted_limit(heavy_balls):
    np.testing.assert_allclose(heavy_balls["predicted_limit"], 2 * (1 + heavy_balls["momentum"]) / 4, rtol=1e-12)
    fate = heavy_balls["fate"].transpose("step_size", "momentum")
    assert set(np.unique(fate)) <= {"converged", "converging", "diverged"}
    np.testing.assert_array_equal(fate != "diverged", heavy_balls["step_size"] < heavy_balls["predicted_limit"])


def test_the_growth_of_a_distance_is_the_largest_root(heavy_balls):
    steps, momenta = heavy_balls["step_size"].values, heavy_balls["momentum"].values
    exact = np.array([[growth_of_heavy_ball(h, b) for b in momenta] for h in steps])
    # Complex roots and double ones take the mean over a number of turns; two real ones do not.
    np.testing.assert_allclose(heavy_balls["growth"], exact, rtol=2e-2)
    np.testing.assert_allclose(heavy_balls["growth"][:9, 0], exact[:9, 0], rtol=1e-8)
    assert ((heavy_balls["growth"] > 1) == (exact > 1)).all()


def test_a_metric_that_factorises_is_run_in_turn_and_predicted_by_its_own_curvature():
    """`M = (1 + m) diag(1, 4)`: every curvature in the metric is `1 / (1 + m)`."""

    def family(h, mass):
        return fm.discretize(
            fm.GradientFlow(bowl, fm.DenseMetric(lambda y, args: (1 + mass) * jnp.diag(CURVATURES))), h
        )

    steps, masses = np.array([1.0, 1.9, 2.1, 3.9, 4.1]), np.array([1e-9, 1.0])
    found = fm.stability_map(family, jnp.array([1.0, 1.0]), steps, mass=masses, updates=np.int64(300))
    np.testing.assert_allclose(found["predicted_limit"], 2 * (1 + masses), rtol=1e-9)
    np.testing.assert_array_equal(found["fate"] == "diverged", steps[:, None] > 2 * (1 + masses))
    np.testing.assert_allclose(found["growth"][1:], np.abs(1 - steps[1:, None] / (1 + masses)), rtol=1e-5)


def test_batches_of_all_sizes_are_one_map():
    """On two samples `(w - 1)^2` and `(w + 1)^2` the iterates scatter with one, and not with both."""
    net = fm.Linear(1, 1, use_bias=False, key=jax.random.key(0))
    problem = fm.Supervised(net, fm.MeanSquaredError(), jnp.ones((2, 1)), jnp.array([[1.0], [-1.0]]))
    flow = fm.GradientFlow(problem)

    def family(h, batch):
        return fm.minibatch(fm.discretize(flow, h), problem, batch, key=jax.random.key(1))

    found = fm.stability_map(family, net, [0.5, 1.5, 2.5], batch_size=[1, 2], updates=300)
    assert found["fate"].values.tolist() == [["irregular", "converged"], ["irregular", "converged"], ["diverged"] * 2]
    np.testing.assert_allclose(found["predicted_limit"], [2, 2], rtol=1e-9)
    # All batches have the curvature one: neighbours that see the same draws approach each other by the same factor.
    np.testing.assert_allclose(found["growth"], [[0.5] * 2, [0.5] * 2, [1.5] * 2], rtol=1e-6)


def test_optimizers_that_know_no_flow_and_single_precision():
    y0, steps = jnp.array([1.0, 1.0], jnp.float32), [0.4, 0.6]

    def family(h, bad):
        return optax.chain(optax.scale(jnp.where(bad > 0, jnp.nan, 1.0)), optax.sgd(h))

    found = fm.stability_map(family, y0, steps, potential=bowl, bad=[0, 1], updates=200)
    assert found["fate"].values.tolist() == [["converged", "diverged"], ["diverged", "diverged"]]
    assert found["loss"].dtype == np.float32
    assert np.isnan(found["predicted_limit"]).all()
    np.testing.assert_allclose(found["growth"][:, 0], [0.6, 1.4], rtol=1e-3)


def test_single_precision_beside_the_double_time_of_a_discretised_flow_and_a_step_that_is_a_multiple():
    y0, flow, momenta = jnp.array([1.0, -0.5], jnp.float32), fm.GradientFlow(bowl), np.array([0.0, 0.5])

    def family(h, beta):
        return fm.discretize(flow, h * (1 - beta), "heavy_ball", momentum=beta)

    found = fm.stability_map(family, y0, np.array([0.45, 0.55, 1.45, 1.55]), momentum=momenta, updates=300)
    assert found["loss"].dtype == found["growth"].dtype == np.float32
    np.testing.assert_allclose(found["predicted_limit"], [0.5, 1.5], rtol=1e-5)
    np.testing.assert_array_equal(found["fate"] != "diverged", found["step_size"] < found["predicted_limit"])


def test_a_schedule_has_no_single_limit():
    def make(beta):
        return fm.discretize(fm.GradientFlow(bowl), optax.constant_schedule(0.1), "heavy_ball", momentum=beta)

    assert np.isnan(predicted_limits(make, np.array([0.0, 0.5]), jnp.ones(2), 0.1)).all()


# --- bifurcations ---


def test_doublings_of_the_logistic_map():
    """Gradient descent with `h = r - 1` on `-y^2/2 + y^3/3` is the logistic map of `y h / (1 + h)`."""
    r = np.array([2.9, 3.2, 3.44, 3.46, 3.55, 3.83, 3.9, 4.05])
    flow = fm.GradientFlow(lambda y, args: jnp.sum(-(y**2) / 2 + y**3 / 3))
    found = fm.bifurcation(flow, jnp.array([0.3]), r - 1, observe=lambda y, args: y[0], transient=3000, keep=64)
    assert found["fate"].values.tolist() == ["converged", *["periodic"] * 5, "irregular", "diverged"]
    np.testing.assert_array_equal(found["period"], [0, 2, 2, 4, 8, 3, 0, 0])
    assert found["observed"].shape == (8, 64)
    assert float(found["predicted_limit"]) == pytest.approx(2.0, abs=1e-6)  # r = 3
    pair = np.unique(np.round(found["observed"][1] * 2.2 / 3.2, 9))
    exact = (r[1] + 1 + np.array([-1, 1]) * np.sqrt((r[1] - 3) * (r[1] + 1))) / (2 * r[1])
    np.testing.assert_allclose(pair, exact, atol=1e-8)
    # On the cycle the multiplier is 4 + 2 r - r^2, of two updates; at 2.9 it is 2 - r.
    np.testing.assert_allclose(found["growth"][:2], [0.9, np.sqrt(4 + 2 * r[1] - r[1] ** 2)], rtol=2e-3)
    assert found["growth"][6] > 1
    assert np.isnan(found["observed"][7]).all()


def test_the_exact_cycle_of_gradient_descent_at_the_edge_of_stability():
    """On `y x^2 / 2 + k (y - Y)^2 / 2` it is `x^2 = 2 k (Y - 2 / h)` at `y = 2 / h`, stable below `x^2 = k / h`."""
    k, top = 0.5, 4.0
    flow = fm.GradientFlow(lambda y, args: y[1] * y[0] ** 2 / 2 + k * (y[1] - top) ** 2 / 2)
    steps = np.array([0.45, 0.52, 0.56, 0.6])  # from 2 / Y to 2.5 / Y
    both = lambda y, args: y[0] ** 2 + 10 * y[1]  # noqa: E731
    found = fm.bifurcation(flow, jnp.array([0.1, 3.9]), steps, observe=both, transient=4000, keep=8)
    assert found["fate"].values.tolist() == ["converged", *["periodic"] * 3]
    np.testing.assert_array_equal(found["period"], [0, 2, 2, 2])
    exact = np.maximum(2 * k * (top - 2 / steps), 0) + 10 * np.minimum(2 / steps, top)
    np.testing.assert_allclose(found["observed"], exact[:, None] + np.zeros(8), rtol=1e-8)


# --- bad input ---


def test_wrong_input():
    flow, y0 = fm.GradientFlow(bowl), jnp.array([1.0, 1.0])

    def family(h, beta):
        return fm.discretize(flow, h, "heavy_ball", momentum=beta)

    def stability_map(family=family, y0=y0, steps=(0.1, 0.2), **settings):
        return fm.stability_map(family, y0, steps, **({"momentum": [0.0, 0.5]} | settings))

    for settings in ({"mass": [1.0]}, {"growth": [1.0]}):
        with pytest.raises(ValueError, match=r"takes the values of one other number by its name, .* got momentum, "):
            stability_map(**settings)
    with pytest.raises(ValueError, match=r"one other number by its name, .* got nothing"):
        fm.stability_map(family, y0, [0.1])
    for values in (0.5, [], [[0.5]], [np.nan], "high"):
        with pytest.raises(ValueError, match="`momentum` must be a one-dimensional array of finite numbers, got"):
            stability_map(momentum=values)
    with pytest.raises(ValueError, match="`step_sizes` must be positive and finite, got -1"):
        stability_map(steps=[0.1, -1.0])
    with pytest.raises(ValueError, match="`updates` must be a whole number of at least 1, got 0"):
        stability_map(updates=0)
    with pytest.raises(ValueError, match="`updates` must be a whole number of at least 1, got True"):
        stability_map(updates=True)
    with pytest.raises(ValueError, match=r"`family` failed with ValueError: `momentum` must be a number in \[0, 1\)"):
        stability_map(momentum=[1.5])
    with pytest.raises(ValueError, match="`family` must return an optax transformation, got float"):
        stability_map(lambda h, beta: 0.1)
    with pytest.raises(ValueError, match="`potential` must be given, the loss of the runs: what `family` returns"):
        stability_map(lambda h, beta: optax.sgd(h))
    with pytest.raises(ValueError, match="`family` looks at the value of its numbers or state, which are traced"):
        stability_map(lambda h, beta: optax.sgd(h if beta > 0.1 else 2 * h), potential=bowl)
    with pytest.raises(ValueError, match="`y0` is a critical point, which no optimizer leaves: displace it"):
        stability_map(y0=jnp.zeros(2))
    with pytest.raises(ValueError, match="`y0` must have a finite loss and gradient, got inf"):
        stability_map(y0=jnp.array([1e200, 1.0]))
    with pytest.raises(ValueError, match="`transient` must be a whole number of at least 0, got -1"):
        fm.bifurcation(flow, y0, [0.1], transient=-1)
    with pytest.raises(ValueError, match="`flow` must be a gradient flow, got VectorField"):
        fm.bifurcation(fm.VectorField(lambda t, y, args: -y), y0, [0.1])
    with pytest.raises(ValueError, match=r"`observe` must be a function of \(y, args\)"):
        fm.bifurcation(flow, y0, [0.1], observe=lambda y: y[0])
    with pytest.raises(ValueError, match=r"`observe` must return a number, got an array of shape \(2,\)"):
        fm.bifurcation(flow, y0, [0.1], observe=lambda y, args: y)
    with pytest.raises(ValueError, match="`observe` must return a number, got 'high'"):
        fm.bifurcation(flow, y0, [0.1], observe=lambda y, args: "high")
    with pytest.raises(ValueError, match="outside of JAX transformations only"):
        jax.jit(lambda y: fm.bifurcation(flow, y, [0.1]))(y0)
