"""Step limits: against closed forms, diffrax's tableaus, and the methods themselves run on a quadratic."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

import flowmod as fm
from flowmod.discrete import leading_curvature, step_limit
from flowmod.discrete.limits import STABLE
from tests.zoo import STATE_DEPENDENT


def quadratic(H, M):
    H = jnp.asarray(H)
    return fm.GradientFlow(lambda y, args: 0.5 * y @ H @ y, fm.ConstantMetric(np.asarray(M)))


def test_the_quadratic_flow_of_the_oracle(oracle):
    o = oracle("o07_quadratic_flow")
    H, M, y = o["inputs"]["H"], o["inputs"]["M"], jnp.asarray(o["inputs"]["x0"])
    np.testing.assert_allclose(step_limit(quadratic(H, M), y), o["results"]["euler_limit"], rtol=1e-11)
    plain = step_limit(quadratic(H, np.eye(3)), y)
    np.testing.assert_allclose(plain, o["results"]["euler_limit_if_M_ignored"], rtol=1e-11)
    mode = leading_curvature(quadratic(H, M), y)
    np.testing.assert_allclose(mode.value, o["results"]["generalised_eigs"][-1], rtol=1e-11)
    np.testing.assert_allclose(np.asarray(H) @ mode.vector, mode.value * np.asarray(M) @ mode.vector, atol=1e-10)


def test_limits_of_the_oracle(oracle):
    o = oracle("o10_step_limits")
    flow, y = quadratic(o["inputs"]["H"], o["inputs"]["M"]), jnp.ones(2)
    largest = o["results"]["eigs_MinvH"][-1]
    np.testing.assert_allclose(step_limit(flow, y), o["results"]["euler_limit"], rtol=1e-9)
    heavy = step_limit(flow, y, "heavy_ball", momentum=0.9)
    np.testing.assert_allclose(heavy, o["results"]["heavy_ball_limit_beta0p9"], rtol=1e-9)
    for beta, limits in o["results"]["momentum_limits_q"].items():
        for method in ("heavy_ball", "nesterov"):
            q = step_limit(flow, y, method, momentum=float(beta)) * largest
            np.testing.assert_allclose(q, limits[method], rtol=o["tol"])
    names = {"heun2_midpoint_ralston": "heun", "rk3_bosh3": "bosh3"}
    for name, row in o["results"]["rk"].items():
        q = step_limit(flow, y, names.get(name, name)) * largest
        np.testing.assert_allclose(q, row["real_axis_limit"], rtol=1e-9)


RUNGE_KUTTA = {
    "heun": diffrax.Heun,
    "bosh3": diffrax.Bosh3,
    "dopri5": diffrax.Dopri5,
    "tsit5": diffrax.Tsit5,
    "dopri8": diffrax.Dopri8,
}


def stability_function(method):
    """`R(-q)` of diffrax's solver, from its tableau."""
    if method == "rk4":
        return lambda q: 1 - q + q**2 / 2 - q**3 / 6 + q**4 / 24
    tableau = RUNGE_KUTTA[method].tableau
    b = np.asarray(tableau.b_sol)
    A = np.zeros((len(b), len(b)))
    for row, entries in enumerate(tableau.a_lower, start=1):
        A[row, :row] = entries
    return lambda q: 1 - q * b @ np.linalg.solve(np.eye(len(b)) + q * A, np.ones(len(b)))


@pytest.mark.parametrize("method", [*RUNGE_KUTTA, "rk4"])
def test_runge_kutta_constants_from_the_tableaus(method):
    R, limit = stability_function(method), STABLE[method]
    found = scipy.optimize.brentq(lambda q: abs(R(q)) - 1, 0.9 * limit, 1.1 * limit, xtol=1e-13)
    np.testing.assert_allclose(limit, found, rtol=1e-9)
    inside = np.linspace(1e-3, limit - 1e-6, 500)
    assert max(abs(R(q)) for q in inside) < 1


@pytest.mark.parametrize("method", list(RUNGE_KUTTA))
def test_diffrax_decays_below_and_grows_above_the_limit(method):
    flow = quadratic([[4.0, 1.0], [1.0, 2.0]], [[2.0, 0.1], [0.1, 0.25]])
    start = leading_curvature(flow, jnp.ones(2)).vector
    limit = float(step_limit(flow, jnp.ones(2), method))
    for factor, grows in ((0.98, False), (1.02, True)):
        h = limit * factor
        end = diffrax.diffeqsolve(flow, RUNGE_KUTTA[method](), 0.0, 60.5 * h, h, start, max_steps=100).ys[-1]
        assert (np.abs(end).max() > np.abs(start).max()) == grows


def momentum_step(method, gradient, h, beta, y, before):
    if method == "heavy_ball":
        return y - h * gradient(y) + beta * (y - before)
    ahead = y + beta * (y - before)
    return ahead - h * gradient(ahead)


@pytest.mark.parametrize("method", ["heavy_ball", "nesterov"])
def test_momentum_decays_below_and_grows_above_the_limit(method):
    H, M, beta = np.asarray([[4.0, 1.0], [1.0, 2.0]]), np.asarray([[2.0, 0.1], [0.1, 0.25]]), 0.8
    limit = float(step_limit(quadratic(H, M), jnp.ones(2), method, momentum=beta))
    for factor, grows in ((0.98, False), (1.02, True)):
        y = before = np.ones(2)
        for _ in range(1500):
            h = limit * factor
            y, before = momentum_step(method, lambda z: np.linalg.solve(M, H @ z), h, beta, y, before), y
        assert (np.abs(y).max() > 1e3) == grows
        assert grows or np.abs(y).max() < 1e-3


@pytest.mark.parametrize("name", list(STATE_DEPENDENT))
def test_curvature_in_a_metric_that_depends_on_the_state(name):
    potential, mass, y0 = STATE_DEPENDENT[name]
    y = jnp.asarray(y0)
    H, M = jax.hessian(lambda y: potential(y, None))(y), mass(y, None)
    values = scipy.linalg.eigh(H, M, eigvals_only=True)
    flow = fm.GradientFlow(potential, fm.DenseMetric(mass))
    np.testing.assert_allclose(leading_curvature(flow, y).value, values[-1], rtol=1e-10)
    # Negative control: without the metric it is another number.
    assert abs(np.linalg.eigvalsh(H)[-1] / values[-1] - 1) > 1e-2


def test_a_perturbation_of_a_minimiser_decays_just_below_the_limit():
    """Natural gradient descent itself, at a critical point of a metric that moves with the state."""
    potential, mass, _ = STATE_DEPENDENT["exponential"]
    flow = fm.GradientFlow(lambda y, args: potential(y - 0.4, args), fm.DenseMetric(mass))
    y = jnp.full(3, 0.4)
    mode, limit = leading_curvature(flow, y), step_limit(flow, y)
    for factor in (0.99, 1.01):
        moved = y + 1e-7 * mode.vector
        for _ in range(60):
            moved = moved + factor * limit * flow.vector_field(0.0, moved)
        assert (jnp.abs(moved - y).max() > 1e-7 * jnp.abs(mode.vector).max()) == (factor > 1)


def test_an_equinox_network_under_jit_and_in_float32():
    net = eqx.nn.MLP(3, 2, 6, 1, activation=jnp.tanh, key=jax.random.key(1), dtype=jnp.float64)
    x = jax.random.normal(jax.random.key(2), (20, 3))

    def potential(net, x):
        return jnp.mean((jax.vmap(net)(x) - jnp.sin(x[:, :2])) ** 2)

    flow = fm.GradientFlow(potential)
    limit = step_limit(flow, net, args=x)
    leaves, static = eqx.partition(net, eqx.is_inexact_array)
    flat, unravel = jax.flatten_util.ravel_pytree(leaves)
    H = jax.hessian(lambda flat: potential(eqx.combine(unravel(flat), static), x))(flat)
    np.testing.assert_allclose(limit, 2 / np.linalg.eigvalsh(H)[-1], rtol=1e-10)
    np.testing.assert_allclose(eqx.filter_jit(lambda net: step_limit(flow, net, args=x))(net), limit, rtol=1e-12)
    direction = leading_curvature(flow, net, args=x).vector
    assert jax.tree.structure(direction) == jax.tree.structure(eqx.filter(net, eqx.is_inexact_array))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, net)
    narrow = step_limit(flow, single, args=x.astype(jnp.float32))
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, limit, rtol=1e-4)


def test_a_moving_metric_is_taken_at_its_time():
    flow = fm.GradientFlow(lambda y, args: jnp.sum(y**2), fm.MovingMetric(lambda t, y, args: (1 + t) * jnp.eye(2)))
    np.testing.assert_allclose(step_limit(flow, jnp.ones(2), t=3.0), 4.0)


def test_no_positive_curvature_is_no_limit():
    flow = fm.GradientFlow(lambda y, args: -jnp.sum(y**2))
    assert step_limit(flow, jnp.ones(3)) == jnp.inf
    assert step_limit(fm.GradientFlow(lambda y, args: jnp.sum(y)), jnp.ones(3)) == jnp.inf


def test_implicit_euler_has_no_limit_but_nan_stays_nan():
    bowl = fm.GradientFlow(lambda y, args: jnp.sum(y**2))
    assert step_limit(bowl, jnp.ones(2), "implicit_euler") == jnp.inf
    undefined = fm.GradientFlow(lambda y, args: jnp.sum(jnp.log(y)))
    for method in ("euler", "implicit_euler"):
        assert np.isnan(step_limit(undefined, -jnp.ones(2), method))
    indefinite = fm.GradientFlow(bowl.potential, fm.DenseMetric(lambda y, args: jnp.asarray([[1.0, 2.0], [2.0, 1.0]])))
    assert np.isnan(step_limit(indefinite, jnp.ones(2)))


@pytest.mark.parametrize(
    ("flow", "missing"),
    [
        (fm.VectorField(lambda t, y, args: -y), "potential"),
        (fm.VectorField(lambda t, y, args: -y, potential=lambda y, args: jnp.sum(y**2) / 2), "metric"),
    ],
)
def test_a_flow_without_potential_or_metric_has_no_limit(flow, missing):
    with pytest.raises(ValueError, match=f"has no {missing}: use a `fm.GradientFlow`, or give it a `{missing}=`"):
        step_limit(flow, jnp.ones(2))


def test_wrong_input_is_named():
    flow, y = fm.GradientFlow(lambda y, args: jnp.sum(y**2)), jnp.ones(2)
    with pytest.raises(ValueError, match=r'`method` must be one of "euler".*"nesterov", got .rk5.'):
        step_limit(flow, y, "rk5")
    with pytest.raises(ValueError, match='`method="heavy_ball"` needs its `momentum=`'):
        step_limit(flow, y, "heavy_ball")
    with pytest.raises(ValueError, match=r'`momentum` is for "heavy_ball" and "nesterov", got 0.9 with "euler"'):
        step_limit(flow, y, momentum=0.9)
    for momentum in (1.0, -0.1, float("nan"), "0.9", np.ones(2)):
        with pytest.raises(ValueError, match=r"`momentum` must be a number in \[0, 1\)"):
            step_limit(flow, y, "nesterov", momentum=momentum)
    with pytest.raises(ValueError, match="`flow` must be first order, got InertialFlow"):
        step_limit(fm.InertialFlow(flow.potential, damping=1.0), (y, y))
    with pytest.raises(ValueError, match="`flow` must be a flow, got function"):
        step_limit(lambda y: y, y)
