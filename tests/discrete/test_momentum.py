"""Heavy ball and Nesterov: the textbook's loops, optax, and their continuous limits as inertial flows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.integrate import solve_ivp

import flowmod as fm
from tests.discrete.iterates import marcher, slopes
from tests.discrete.test_discretize import o12_curved, o12_potential

METHODS = ("heavy_ball", "nesterov")
START = np.array([1.1, 0.8])
BETA, DAMPING = 0.6, 0.5


def gradient(q):
    return np.array([q[0] ** 3 + q[0] + 0.3 * q[1], 0.3 * q[0] + 2 * q[1]])


def metric(q):
    return np.array([[1 + q[0] ** 2, q[0] / 5], [q[0] / 5, 1.5 + np.sin(q[1])]])


def coriolis(q, v):
    """`DM[v] v - grad(v^T M v) / 2`, by hand."""
    by_x, by_y = np.array([[2 * q[0], 0.2], [0.2, 0.0]]), np.array([[0.0, 0.0], [0.0, np.cos(q[1])]])
    along = v[0] * by_x @ v + v[1] * by_y @ v
    return along - np.array([v @ by_x @ v, v @ by_y @ v]) / 2


def textbook(method, steps, h, momentum, direction):
    """`y+ = z - h direction` where both are `y` plus momentum, but heavy ball's direction is that of `y`."""
    y = before = START
    for _ in range(steps):
        ahead = y + momentum * (y - before)
        y, before = ahead - h * direction(y if method == "heavy_ball" else ahead), y
    return y


@pytest.fixture(scope="module")
def inertial():
    flow = fm.InertialFlow(o12_potential, fm.DenseMetric(o12_curved), damping=DAMPING)
    return {method: marcher(flow, method) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_flow_takes_the_steps_of_the_textbook(method):
    flow = fm.GradientFlow(o12_potential, fm.DenseMetric(o12_curved))
    end = marcher(flow, method, momentum=BETA)(START, 0.1, 12)
    wanted = textbook(method, 12, 0.1, BETA, lambda q: np.linalg.solve(metric(q), gradient(q)))
    np.testing.assert_allclose(end, wanted, rtol=1e-12)
    other = textbook(METHODS[method == "heavy_ball"], 12, 0.1, BETA, lambda q: np.linalg.solve(metric(q), gradient(q)))
    assert np.linalg.norm(end - other) > 1e-3  # negative control


@pytest.mark.parametrize("method", METHODS)
def test_on_flat_space_it_is_optax(method):
    """optax's Nesterov has the extrapolated points for its parameters."""
    flow, h = fm.GradientFlow(lambda y, args: jnp.sum(jnp.cosh(y))), 0.2
    ours, theirs = fm.discretize(flow, h, method, momentum=BETA), optax.sgd(h, BETA, nesterov=method == "nesterov")
    y = before = z = START
    state, other = ours.init(y), theirs.init(z)
    for _ in range(5):
        updates, state = ours.update(np.sinh(y), state, y)
        y, before = y + np.asarray(updates), y
        updates, other = theirs.update(jnp.sinh(z), other, z)
        z = z + np.asarray(updates)
    np.testing.assert_allclose(z, y + BETA * (y - before) if method == "nesterov" else y, rtol=1e-12)


def test_heavy_ball_takes_the_gradients_that_it_is_given_and_nesterov_its_own():
    flow, y = fm.GradientFlow(o12_potential), jnp.asarray(START)
    given = jnp.array([5.0, -3.0])
    for method, wanted in (("heavy_ball", -0.1 * given), ("nesterov", -0.1 * gradient(START))):
        optimizer = fm.discretize(flow, 0.1, method, momentum=0.9)
        np.testing.assert_allclose(optimizer.update(given, optimizer.init(y), y)[0], wanted, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_an_inertial_flow_is_their_continuous_limit(method, inertial):
    """Order 1 in the flow's own time, in a metric where the Coriolis force bends the way; SciPy runs the flow."""

    def motion(t, state, bent):
        q, v = state[:2], state[2:]
        forces = gradient(q) + bent * coriolis(q, v) + DAMPING * metric(q) @ v
        return np.concatenate([v, -np.linalg.solve(metric(q), forces)])

    start, options = np.append(START, [0.0, 0.0]), {"method": "DOP853", "rtol": 1e-12, "atol": 1e-13}
    flow, wrong = (solve_ivp(motion, (0, 2), start, args=(bent,), **options).y[:2, -1] for bent in (1, 0))
    ends = [np.asarray(inertial[method](START, 2 / steps, steps)) for steps in (200, 400, 800)]
    gaps = [np.linalg.norm(end - flow) for end in ends]
    assert gaps[-1] < 0.01
    assert slopes(gaps) == pytest.approx([1, 1], abs=0.05)
    # Negative control: not the flow of the same mass without its Coriolis force.
    assert min(np.linalg.norm(end - wrong) for end in ends) > 10 * gaps[-1]


@pytest.mark.parametrize("method", METHODS)
def test_in_a_constant_metric_its_momentum_is_one_minus_damping_times_time(method):
    mass, s = np.array([[2.0, 0.3], [0.3, 1.0]]), 0.2
    flow = fm.InertialFlow(o12_potential, fm.ConstantMetric(mass), damping=DAMPING)
    end = marcher(flow, method)(START, s, 15)
    wanted = textbook(method, 15, s**2, 1 - DAMPING * s, lambda q: np.linalg.solve(mass, gradient(q)))
    np.testing.assert_allclose(end, wanted, rtol=1e-12)


def test_a_schedule_of_an_inertial_flow_is_a_schedule_of_its_time():
    """The velocity is what is kept, so that unequal steps still follow the flow; `t` is the sum of the steps."""
    flow = fm.InertialFlow(lambda y, args: jnp.sum(y**2) / 2, damping=1.0)

    @jax.jit
    def march(count):
        optimizer = fm.discretize(flow, lambda n: jnp.where(n % 2 == 0, 3.0, 1.0) / count, "heavy_ball")

        def step(_, carry):
            y, state = carry
            updates, state = optimizer.update(y, state, y)
            return y + updates, state

        return jax.lax.fori_loop(0, count, step, (jnp.ones(1), optimizer.init(jnp.ones(1))))

    # y'' + y' + y = 0 from rest.
    frequency = np.sqrt(3) / 2
    exact = np.exp(-1.0) * (np.cos(2 * frequency) + np.sin(2 * frequency) / (2 * frequency))
    gaps = []
    for count in (200, 400, 800):
        y, state = march(count)
        assert float(state.t) == pytest.approx(2.0, rel=1e-12)
        gaps.append(abs(float(y[0]) - exact))
    assert slopes(gaps) == pytest.approx([1, 1], abs=0.05)


def test_momentum_is_refused_where_there_is_none_and_asked_for_where_there_is():
    flow = fm.GradientFlow(o12_potential)
    with pytest.raises(ValueError, match=r'`method="heavy_ball"` needs its `momentum=`, a number in \[0, 1\)'):
        fm.discretize(flow, 0.1, "heavy_ball")
    for momentum in (1.0, -0.1, np.nan, "0.9", True, np.ones(2)):
        with pytest.raises(ValueError, match=r"`momentum` must be a number in \[0, 1\), got "):
            fm.discretize(flow, 0.1, "nesterov", momentum=momentum)
    with pytest.raises(ValueError, match=r"`momentum` must be left out, because the method 'euler' has none, got 0.9"):
        fm.discretize(flow, 0.1, momentum=0.9)
    with pytest.raises(
        ValueError, match=r"`momentum` must be left out, because its damping is the flow's own, got 0.9"
    ):
        fm.discretize(fm.InertialFlow(o12_potential), 0.1, "nesterov", momentum=0.9)


def test_an_inertial_flow_has_no_other_methods():
    with pytest.raises(
        ValueError, match=r"`flow` is an `fm.InertialFlow`, which has .*'heavy_ball' and 'nesterov'.* got 'rk4'"
    ):
        fm.discretize(fm.InertialFlow(o12_potential), 0.1, "rk4")
