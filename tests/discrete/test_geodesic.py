"""Geodesics against closed forms, and the steps along them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.discrete.iterates import marcher, one_step, slopes
from tests.discrete.test_discretize import o12_curved, o12_potential

HALF_PLANE = fm.DenseMetric(lambda y, args: jnp.eye(2) / y[1] ** 2)
"""Poincare's half plane, of curvature -1."""

SIMPLEX = fm.DenseMetric(lambda p, args: jnp.diag(1 / p) + jnp.ones((2, 2)) / (1 - jnp.sum(p)))
"""The Fisher metric of three probabilities in the chart of the first two: a sphere of radius 2."""


def half_plane_exp(y, v):
    """By the isometry that turns the upward geodesic `i e^s` through the angle of `v`."""
    length, angle = np.hypot(*v) / y[1], (np.arctan2(v[1], v[0]) - np.pi / 2) / 2
    up = 1j * np.exp(length)
    turned = (np.cos(angle) * up + np.sin(angle)) / (-np.sin(angle) * up + np.cos(angle))
    return np.array([y[0] + y[1] * turned.real, y[1] * turned.imag])


def simplex_exp(p, v):
    """By the great circle of `u = 2 sqrt(p)`."""
    p, v = (np.append(x, end - np.sum(x)) for x, end in ((p, 1), (v, 0)))
    u, velocity = 2 * np.sqrt(p), v / np.sqrt(p)
    angle = np.linalg.norm(velocity) / 2
    return ((u * np.cos(angle) + 2 * velocity / np.linalg.norm(velocity) * np.sin(angle)) ** 2 / 4)[:2]


CLOSED_FORMS = {
    "half plane": (HALF_PLANE, half_plane_exp, [0.3, 0.8], [0.9, -0.6]),
    "simplex": (SIMPLEX, simplex_exp, [0.2, 0.5], [0.25, -0.3]),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_geodesics_in_closed_form(name):
    metric, exact, y, v = CLOSED_FORMS[name]
    y, v = np.array(y), np.array(v)
    both = jax.jit(lambda v: (fm.exp_map(metric, y, v), fm.retraction(metric, y, v)))
    np.testing.assert_array_equal(both(0 * v)[0], y)
    errors = {"geodesic": [], "retraction": [], "straight": []}
    for scale in (1.0, 0.02, 0.01, 0.005, 1e-6):
        wanted, found = exact(y, scale * v) - y, [np.asarray(end) - y for end in (*both(scale * v), y + scale * v)]
        for key, way in zip(errors, found, strict=True):
            errors[key].append(np.linalg.norm(way - wanted) / np.linalg.norm(wanted))
    assert max(errors["geodesic"][:4]) < 1e-10
    assert errors["geodesic"][4] < 1e-9  # of a way of 1e-6 beside a state of 1
    # Relative to the way the retraction errs in second order, a straight line in first.
    assert slopes(errors["retraction"][1:4]) == pytest.approx([2, 2], abs=0.1)
    assert slopes(errors["straight"][1:4]) == pytest.approx([1, 1], abs=0.1)
    # Twelve radii of curvature across the half plane, and around the sphere until a probability is almost zero.
    far = {"half plane": 12.0, "simplex": 1.6}[name]
    np.testing.assert_allclose(both(far * v)[0], exact(y, far * v), rtol=1e-6, atol=1e-10)


def test_numbers_of_a_state_may_differ_in_scale():
    """`M = diag(1 / y^2)` is flat in `log y`: `y exp(v / y)`, for a number of 1 and one of 1e-9."""
    y, v = jnp.array([1.0, 1e-9]), jnp.array([0.01, -5e-9])
    end = fm.exp_map(fm.DenseMetric(lambda y, args: jnp.diag(1 / y**2)), y, v)
    np.testing.assert_allclose(end, y * np.exp(v / y), rtol=1e-8)


def test_geodesic_euler_ends_where_the_oracle_does(oracle):
    expected = oracle("o12_euler_order_modified_equation")
    start, ends = jnp.array(expected["inputs"]["x0"]), expected["results"]["curved"]["geodesic_euler_end"]
    flow = fm.GradientFlow(o12_potential, fm.DenseMetric(o12_curved))
    geodesic, retracted = marcher(flow, "geodesic"), marcher(flow, "retraction")
    gaps = []
    for steps in (20, 40, 80):
        np.testing.assert_allclose(geodesic(start, 1 / steps, steps), ends[str(steps)], atol=1e-8)
        gaps.append(np.linalg.norm(retracted(start, 1 / steps, steps) - np.array(ends[str(steps)])))
    # A step errs in third order, a run of 1/h steps in second; in flat coordinates it would be first.
    assert slopes(gaps) == pytest.approx([2, 2], abs=0.1)
    euler = expected["results"]["curved"]["euler_end"]["80"]
    assert np.linalg.norm(np.subtract(euler, ends["80"])) > 10 * gaps[-1]


def test_geodesic_steps_are_the_same_in_all_coordinates():
    """With `q = (z0, z1 + z0^2)` the metric is `J^T M J`; Euler's steps differ."""

    def place(z):
        return jnp.stack([z[0], z[1] + z[0] ** 2])

    def pulled(z, args):
        jacobian = jnp.stack(
            [jnp.stack([jnp.ones_like(z[0]), jnp.zeros_like(z[0])]), jnp.stack([2 * z[0], 1 + 0 * z[0]])]
        )
        return jacobian.T @ o12_curved(place(z), args) @ jacobian

    here = fm.GradientFlow(o12_potential, fm.DenseMetric(o12_curved))
    there = fm.GradientFlow(lambda z, args: o12_potential(place(z), args), fm.DenseMetric(pulled))
    z, methods = jnp.array([0.8, 0.2]), ("geodesic", "euler")
    ours = jax.jit(lambda q: [q + one_step(here, method, q, 0.1) for method in methods])(place(z))
    theirs = jax.jit(lambda z: [place(z + one_step(there, method, z, 0.1)) for method in methods])(z)
    gaps = {method: np.linalg.norm(a - b) for method, a, b in zip(methods, ours, theirs, strict=True)}
    assert gaps["geodesic"] < 1e-11
    assert gaps["euler"] > 1e-3


def test_trees_and_single_precision():
    y = {"a": jnp.array([0.3], jnp.float32), "b": jnp.array(0.8, jnp.float32)}
    v = {"a": jnp.array([0.45], jnp.float32), "b": jnp.array(-0.3, jnp.float32)}
    metric = fm.DenseMetric(lambda y, args: jnp.eye(2, dtype=y["b"].dtype) / y["b"] ** 2)
    ends = jax.jit(lambda y, v: (fm.exp_map(metric, y, v), fm.retraction(metric, y, v)))(y, v)
    exact = half_plane_exp([0.3, 0.8], [0.45, -0.3])
    for end, rtol in zip(ends, (1e-4, 0.15), strict=True):
        assert (end["a"].shape, end["b"].shape) == ((1,), ())
        assert {leaf.dtype for leaf in jax.tree.leaves(end)} == {np.dtype(np.float32)}
        np.testing.assert_allclose(np.hstack(jax.tree.leaves(end)), exact, rtol=rtol)


def test_a_geodesic_that_leaves_the_space_is_nan():
    """`M = y` on the half line ends at zero, 2/3 away from 1."""
    metric = fm.DenseMetric(lambda y, args: y[None])
    move = jax.jit(lambda v: fm.exp_map(metric, jnp.ones(1), v))
    near, far = (move(jnp.array([v])) for v in (-0.5, -0.7))
    np.testing.assert_allclose(near, (1 - 1.5 * 0.5) ** (2 / 3), rtol=1e-9)
    assert np.isnan(far).all()


@pytest.mark.parametrize("move", [fm.exp_map, fm.retraction])
def test_wrong_input(move):
    y = jnp.array([0.3, 0.8])
    with pytest.raises(ValueError, match="`metric` must be a metric, got function"):
        move(lambda y, args: jnp.eye(2), y, y)
    with pytest.raises(ValueError, match=r"`v` must be a velocity, .* of shapes \[\(2,\)\], got \[\(3,\)\]"):
        move(HALF_PLANE, y, jnp.ones(3))
    with pytest.raises(ValueError, match="`y` must hold float arrays, got int"):
        move(HALF_PLANE, jnp.array([1, 2]), y)
