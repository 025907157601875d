"""Implicit steps against closed forms, SciPy and each other; where there is no step, NaN."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import fsolve, minimize
from scipy.special import lambertw

import flowmod as fm
from flowmod.linalg import newton
from tests.discrete.iterates import marcher, one_step, slopes
from tests.discrete.test_discretize import o12_curved, o12_potential
from tests.zoo import rosenbrock

METHODS = ("implicit_euler", "minimizing_movement")
CURVED = fm.GradientFlow(o12_potential, fm.DenseMetric(o12_curved))


def steps_of(flow):
    """`(y, h)` to the steps of both methods, one program."""
    return jax.jit(lambda y, h: {method: one_step(flow, method, y, h) for method in METHODS})


@pytest.fixture(scope="module")
def march():
    return {method: marcher(CURVED, method) for method in METHODS}


@pytest.fixture(scope="module")
def wave():
    """`f = args[0] exp(y) + args[1] cos(y)`."""
    flow = fm.GradientFlow(lambda y, args: args[0] * jnp.sum(jnp.exp(y)) + args[1] * jnp.sum(jnp.cos(y)))
    return jax.jit(lambda y, h, args: {method: one_step(flow, method, y[None], h, args) for method in METHODS})


def gradient(x):
    return np.array([x[0] ** 3 + x[0] + 0.3 * x[1], 0.3 * x[0] + 2 * x[1]])


def test_a_step_in_a_curved_metric_solves_its_equation(march):
    y, metric = np.array([1.1, 0.8]), lambda x: np.asarray(o12_curved(x, None))
    for h in (0.1, 1.0, 30.0):
        implicit = fsolve(lambda x: metric(x) @ (x - y) + h * gradient(x), y, xtol=1e-14)  # noqa: B023
        np.testing.assert_allclose(march["implicit_euler"](y, h, 1), implicit, rtol=1e-9)

        def trade(x):
            return h * float(o12_potential(x, None)) + (x - y) @ metric(y) @ (x - y) / 2  # noqa: B023

        found = minimize(trade, y, jac=lambda x: h * gradient(x) + metric(y) @ (x - y), tol=1e-12).x  # noqa: B023
        np.testing.assert_allclose(march["minimizing_movement"](y, h, 1), found, rtol=1e-6)
        assert np.linalg.norm(found - implicit) > 1e-3  # the metric is frozen in one, and not in the other


def test_both_are_of_first_order_and_stable_at_any_step(oracle, march):
    expected = oracle("o12_euler_order_modified_equation")
    start, end = jnp.array(expected["inputs"]["x0"]), np.array(expected["results"]["curved"]["flow_end"])
    for method in METHODS:
        errors = [np.linalg.norm(march[method](start, 1 / steps, steps) - end) for steps in (40, 80, 160)]
        assert slopes(errors) == pytest.approx([1, 1], abs=0.05)
        assert np.linalg.norm(march[method](start, 1e6, 3)) < 1e-10
    y = np.array(start)  # negative control: explicit steps of this size explode
    for _ in range(3):
        y = y - 30 * np.linalg.solve(o12_curved(y, None), gradient(y))
    assert np.linalg.norm(y) > 1e3


def test_the_two_agree_in_a_constant_metric_and_the_trade_never_loses():
    """On Rosenbrock's valley, from many places; the implicit step of Newton's method may be lost there, and says so."""
    mass = np.array([[2.0, 0.5], [0.5, 1.0]])
    flow = fm.GradientFlow(rosenbrock, fm.ConstantMetric(mass))
    y = np.random.default_rng(0).uniform(-2, 2, (40, 2))
    each = jax.jit(jax.vmap(lambda y, h: {method: one_step(flow, method, y, h) for method in METHODS}))
    value = jax.vmap(lambda y: rosenbrock(y, None))
    for h in (1e-3, 1.0):
        steps = jax.tree.map(np.asarray, each(y, np.full(40, h)))
        d = steps["minimizing_movement"]
        length = np.einsum("ni,ij,nj->n", d, mass, d)
        assert (np.asarray(value(y + d)) + length / (2 * h) <= np.asarray(value(y))).all()
        found = np.isfinite(steps["implicit_euler"]).all(axis=1)
        close = np.linalg.norm(steps["implicit_euler"] - d, axis=1) <= 1e-8 * np.linalg.norm(d, axis=1)
        assert np.mean(found) > 0.9
        assert (steps["implicit_euler"] != d)[found].any()  # two routes
        assert close.all() if h < 1 else np.mean(close) > 0.8


def test_where_there_is_no_step_it_is_nan(wave):
    """`f = s exp(y)`: `d = -W(s h e^y)`, Lambert's function, real above `-1/e`; there is no minimum for `s < 0`."""
    for h in (0.1, 3.0, 50.0):
        for method, d in wave(0.3, h, (1.0, 0.0)).items():
            np.testing.assert_allclose(d, [-lambertw(h * np.exp(0.3)).real], rtol=1e-10, err_msg=method)
    ascent = wave(0.3, 0.2, (-1.0, 0.0))["implicit_euler"]
    np.testing.assert_allclose(ascent, [-lambertw(-0.2 * np.exp(0.3)).real], rtol=1e-10)
    for d in wave(0.3, 0.3, (-1.0, 0.0)).values():
        assert np.isnan(d).all()


def test_beside_a_maximum_the_movement_leaves_and_the_implicit_step_is_drawn_in(wave):
    """Theory: implicit Euler damps `q < -2` spuriously."""
    step = wave(0.3, 3.0, (0.0, 1.0))
    assert abs(0.3 + step["minimizing_movement"][0]) > 1
    implicit = 0.3 + step["implicit_euler"][0]
    assert abs(implicit) < 0.5
    np.testing.assert_allclose(implicit - 0.3, 3.0 * np.sin(implicit), rtol=1e-10)


class Bowl(eqx.Module):
    """A module with a function among its leaves, and parameters in single precision."""

    place: jax.Array
    shape: Callable


def test_at_rest_they_rest_and_trees_and_single_precision_stay():
    flow = fm.GradientFlow(lambda bowl, args: jnp.sum(bowl.shape(3 * (bowl.place - 1.2345))))
    step = eqx.filter_jit(lambda bowl: [one_step(flow, method, bowl, 10.0) for method in METHODS])
    for offset in (0.0, 1e-6, 1e-2):
        bowl = Bowl(jnp.full(3, 1.2345 + offset, jnp.float32), jnp.cosh)
        for d in step(bowl):
            assert d.shape is None
            assert d.place.dtype == jnp.float32
            end = eqx.apply_updates(bowl, d)
            assert end.shape is jnp.cosh
            np.testing.assert_allclose(end.place, 1.2345, rtol=1e-3 if offset == 1e-2 else 3e-7)


def test_large_systems_are_solved_without_a_matrix():
    """300 numbers at steps far beyond the explicit limit: GMRES and conjugate gradients against NumPy's solve."""
    rng = np.random.default_rng(1)
    a = rng.normal(size=(300, 300)) / 20
    a = a @ a.T + np.diag(rng.uniform(0.1, 10, 300))
    flow, y = fm.GradientFlow(lambda y, args: y @ jnp.asarray(a) @ y / 2), rng.normal(size=300)
    for d in steps_of(flow)(y, 5.0).values():
        np.testing.assert_allclose(y + d, np.linalg.solve(np.eye(300) + 5 * a, y), atol=1e-9)


def test_steps_are_differentiable(march):
    """By the implicit function theorem, through the loop of Newton's method; against central differences."""
    y = jnp.array([1.1, 0.8])
    slope = jax.jit(jax.jacrev(lambda h: jnp.stack([one_step(CURVED, method, y, h) for method in METHODS])))(0.3)
    above, below = (jnp.stack([march[method](y, h, 1) for method in METHODS]) for h in (0.3 + 1e-5, 0.3 - 1e-5))
    np.testing.assert_allclose(slope, (above - below) / 2e-5, rtol=1e-7)


def test_newton_stays_in_the_domain_and_ends_where_it_cannot_go_on():
    """`log x = s` from afar: whole steps would leave the half line. No root: NaN."""
    root = jax.jit(lambda s: newton(lambda x: jnp.log(x) - s, jnp.ones(1), jnp.asarray(1e-8)))
    for s in (-9.0, -1.0, 0.0, 4.0, 20.0):
        np.testing.assert_allclose(root(s), np.exp(s), rtol=1e-13)
    lost = jax.jit(lambda s: newton(lambda x: x**2 + s, jnp.ones(1), jnp.asarray(1e-8)))
    np.testing.assert_allclose(lost(-4.0), 2.0, rtol=1e-14)
    assert np.isnan(lost(1.0)).all()
    assert np.isnan(lost(np.nan)).all()
