"""Margins along a run: against the limit at each state, for schedules, fields, and what is not known."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import flowmod as fm
from flowmod.discrete.limits.leading_curvature import curvatures_along
from tests.zoo import STATE_DEPENDENT

POTENTIAL, MASS, Y0 = STATE_DEPENDENT["exponential"]
FLOW = fm.GradientFlow(POTENTIAL, fm.DenseMetric(MASS))
TIMES = np.linspace(0, 1, 9)


@pytest.fixture(scope="module")
def run():
    return fm.simulate(FLOW, jnp.asarray(Y0), 1.0, ts=TIMES)


@pytest.fixture(scope="module")
def largest(run):
    """The leading curvatures, dense."""
    hessian = jax.jit(jax.hessian(lambda y: POTENTIAL(y, None)))
    return np.array([scipy.linalg.eigh(hessian(y), MASS(y, None), eigvals_only=True)[-1] for y in run.ys])


def test_the_margin_is_the_step_over_the_limit(run, largest):
    limits = fm.step_limit(FLOW, run)
    np.testing.assert_allclose(limits, 2 / largest, rtol=1e-9)
    np.testing.assert_allclose(fm.stability_margin(FLOW, run, 0.3), 0.3 * largest / 2, rtol=1e-9)
    schedule = 0.3 / (1 + TIMES)
    margin = fm.stability_margin(FLOW, run, schedule, "heavy_ball", momentum=0.9)
    np.testing.assert_allclose(margin, schedule * largest / 3.8, rtol=1e-9)
    assert (fm.stability_margin(FLOW, run, 0.3, "implicit_euler") == 0).all()
    # Negative control: the curvature changes along the run.
    assert np.ptp(largest) > 0.05 * largest.max()


def test_inside_of_a_transformation(run, largest):
    margin = eqx.filter_jit(lambda run, h: fm.stability_margin(FLOW, run, h))(run, jnp.asarray(0.3))
    np.testing.assert_allclose(margin, 0.3 * largest / 2, rtol=1e-9)


def test_each_search_begins_with_what_the_last_one_found(run):
    """A spectrum with a narrow gap in random directions: a random start needs more products."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(200, 200)))[0]
    A = jnp.asarray(turn @ np.diag([*np.linspace(0.1, 1, 199), 1.02]) @ turn.T)
    flow = fm.GradientFlow(lambda y, args: y @ A @ y / 2 + 1e-2 * jnp.sum(y**4))
    start = rng.normal(size=200)
    run = dataclasses.replace(run, ts=TIMES[:4], ys=np.exp(-np.linspace(0, 0.2, 4))[:, None] * start)
    found = curvatures_along(flow, run)
    assert found.converged.all()
    assert found.products[1:].max() < 0.9 * found.products[0]
    exact = [np.linalg.eigvalsh(A + 0.12 * np.diag(np.asarray(y) ** 2))[-1] for y in run.ys]
    np.testing.assert_allclose(found.values, exact, rtol=1e-8)


def test_what_is_not_known_is_nan_and_no_curvature_is_no_margin(run):
    """A potential with kinks, with a bowl, and with the logarithm of a negative number, one after the other."""

    def potential(y, args):
        return jnp.where(y[0] > 0.7, jnp.sum(jnp.abs(y)), jnp.where(y[0] > 0.5, jnp.sum(y**2), jnp.log(y[0] - 0.5)))

    first = np.asarray(run.ys)[:, 0]
    bowl = (first <= 0.7) & (first > 0.5)
    assert (first > 0.7).any()
    assert bowl.any()
    assert (first <= 0.5).any()
    margin = fm.stability_margin(fm.GradientFlow(potential), run, 0.3)
    np.testing.assert_allclose(margin, np.where(bowl, 0.3, np.nan), rtol=1e-12)


def test_a_field_by_its_jacobian(run):
    """`y' = -y^3` and a rotation that the first number drives: a spectrum that changes along the run."""

    def field(t, y, args):
        return jnp.stack([-y[0], -y[1] - y[0] * y[2], y[0] * y[1] - y[2]])

    flow = fm.VectorField(field)
    first = np.asarray(run.ys)[:, 0]
    jacobians = [np.asarray(jax.jacfwd(lambda y: field(0.0, y, None))(y)) for y in run.ys]
    expected = [max(abs(v) ** 2 / (-2 * v.real) for v in np.linalg.eigvals(J)) * 0.3 for J in jacobians]
    np.testing.assert_allclose(fm.stability_margin(flow, run, 0.3), expected, rtol=1e-9)
    assert np.ptp(first) > 0.1
    growing = fm.VectorField(lambda t, y, args: y)
    assert (fm.stability_margin(growing, run, 0.3) == np.inf).all()
    assert np.isnan(fm.stability_margin(fm.VectorField(lambda t, y, args: jnp.log(y - 1)), run, 0.3)).all()


def test_limits_along_a_run_can_be_drawn(run, largest):
    ax = fm.plot.step_limits(run.ts, fm.step_limit(FLOW, run), step_sizes=0.3)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 2 / largest, rtol=1e-9)


def test_wrong_input_is_named(run):
    with pytest.raises(
        ValueError, match=r"`trajectory` must be a Trajectory, as `fm.simulate` returns it, got ndarray"
    ):
        fm.stability_margin(FLOW, np.ones(3), 0.3)
    for wrong in (0.0, -1.0, np.nan, np.inf, np.ones(3), "0.1", None, [0.1, "b"]):
        with pytest.raises(ValueError, match=r"`step_size` must be a positive, finite number.*one for each of the 9"):
            fm.stability_margin(FLOW, run, wrong)
    with pytest.raises(ValueError, match="`method` must be one of"):
        fm.stability_margin(FLOW, run, 0.3, "adam")
    members = object.__new__(fm.Ensemble)
    with pytest.raises(ValueError, match="`y` must be a state or a Trajectory, got an Ensemble: take a member"):
        fm.step_limit(FLOW, members)
