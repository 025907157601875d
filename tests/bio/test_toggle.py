"""The toggle switch: a plain right-hand side that is a Riemannian gradient flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from hypothesis import given, settings
from hypothesis import strategies as st

import flowmod as fm
from tests.zoo import BIOMD507, toggle

POINTS = [(1.0, 8.0), (0.05, 15.0), (0.3324186, 11.7080324), (150.0, 0.1), (20.0, 3.0)]


@pytest.mark.parametrize("parameters", [BIOMD507, {"a1": 4.0, "a2": 4.0, "n": 2.0}, {"a1": 3.0, "a2": 5.0, "n": 1.0}])
@pytest.mark.parametrize("point", POINTS)
def test_the_right_hand_side_is_minus_the_metric_gradient(parameters, point):
    flow = fm.bio.toggle_switch(**parameters)
    y = {"u": jnp.asarray(point[0]), "v": jnp.asarray(point[1])}
    _, _, vector = fm.steepest_descent(flow.potential, flow.metric, y)
    plain = flow.vector_field(0.0, y)
    for name in y:
        np.testing.assert_allclose(vector[name], plain[name], rtol=1e-9, atol=1e-9)


def test_the_gradient_at_the_edge_where_there_is_no_cooperativity():
    """At u = 0 with m = 1 the product g has the slope -a2, and the flow does not rest there."""
    y = {"u": jnp.asarray(0.0), "v": jnp.asarray(8.0)}
    gradient, flow = jax.grad(toggle().potential)(y)["u"], toggle()
    np.testing.assert_allclose(gradient, -15.6 * 156.25 / (1 + 8.0**2.5), rtol=1e-12)
    np.testing.assert_allclose(-gradient, flow.metric.flat(y, flow.vector_field(0.0, y))["u"], rtol=1e-12)


def test_plain_right_hand_side():
    field = toggle().vector_field(0.0, {"u": jnp.asarray(2.0), "v": jnp.asarray(3.0)})
    np.testing.assert_allclose(field["u"], 156.25 / (1 + 3.0**2.5) - 2)
    np.testing.assert_allclose(field["v"], 15.6 / 3 - 3)


@pytest.mark.parametrize(("u", "v"), POINTS)
def test_potential_against_adaptive_quadrature(u, v):
    """SciPy's quad of the two integrals, with the derivatives written out by hand."""
    a1, a2, n, m = BIOMD507["a1"], BIOMD507["a2"], BIOMD507["n"], BIOMD507["m"]
    product = a1 / (1 + v**n) * a2 / (1 + u**m)
    slope_g = lambda s: -a2 * m * s ** (m - 1) / (1 + s**m) ** 2  # noqa: E731
    slope_f = lambda s: -a1 * n * s ** (n - 1) / (1 + s**n) ** 2  # noqa: E731
    first = scipy.integrate.quad(lambda s: s * slope_g(s), 0, u, epsabs=1e-12, epsrel=1e-12, limit=200)[0]
    second = scipy.integrate.quad(lambda s: s * slope_f(s), 0, v, epsabs=1e-12, epsrel=1e-12, limit=200)[0]
    potential = toggle().potential({"u": jnp.asarray(u), "v": jnp.asarray(v)})
    np.testing.assert_allclose(potential, product - first - second, rtol=1e-10)


@settings(max_examples=40, deadline=None)
@given(
    a1=st.floats(0.5, 200),
    a2=st.floats(0.5, 200),
    n=st.floats(1, 4),
    m=st.floats(1, 4),
    u=st.floats(0.1, 50),
    v=st.floats(0.1, 50),
)
def test_gradient_form_holds_for_any_parameters(a1, a2, n, m, u, v):
    flow = fm.bio.toggle_switch(a1, a2, n, m)
    y = {"u": jnp.asarray(u), "v": jnp.asarray(v)}
    gradient, plain = jax.grad(flow.potential)(y), flow.vector_field(0.0, y)
    for name, covector in flow.metric.flat(y, plain).items():
        np.testing.assert_allclose(-gradient[name], covector, rtol=1e-8, atol=1e-8)


def test_the_derivative_of_the_potential_with_respect_to_its_parameters():
    def potential(a1, n, v):
        return fm.bio.toggle_switch(a1, 3.0, n, 2.0).potential({"u": jnp.asarray(1.2), "v": v})

    place = (jnp.asarray(2.5), jnp.asarray(2.2), jnp.asarray(0.8))
    gradient = jax.grad(potential, argnums=(0, 1, 2))(*place)
    h = 1e-6
    for index in range(3):
        up, down = list(place), list(place)
        up[index], down[index] = up[index] + h, down[index] - h
        np.testing.assert_allclose(gradient[index], (potential(*up) - potential(*down)) / (2 * h), rtol=1e-7)


def test_the_box_is_invariant_and_positive_states_stay_positive():
    flow = toggle()
    lower, upper = flow.box
    u, v = np.meshgrid(np.linspace(0, upper["u"], 8), np.linspace(0, upper["v"], 8))
    members = fm.ensemble(flow, {"u": u.ravel(), "v": v.ravel()}, 30.0)
    assert not len(members.failed)
    for name in ("u", "v"):
        assert (members.ys[name] >= lower[name]).all()
        assert (members.ys[name] <= upper[name] * (1 + 1e-6)).all()


def test_parameters_default_and_are_checked():
    flow = fm.bio.toggle_switch(n=3.0)
    assert float(flow.m) == 3.0
    assert float(flow.a1) == float(flow.a2) == 3.0
    for name, value in {"a1": -1.0, "a2": 0.0, "n": 0.5, "m": float("nan")}.items():
        with pytest.raises(ValueError, match=f"`{name}` must be a number"):
            fm.bio.toggle_switch(**{name: value})


def test_float32_stays_float32():
    y = {"u": jnp.asarray(1.0, jnp.float32), "v": jnp.asarray(8.0, jnp.float32)}
    flow = toggle()
    assert flow.potential(y).dtype == jnp.float32
    run = fm.simulate(flow, y, 5.0)
    assert run.ys["u"].dtype == np.float32
    assert run.ledger.dtype == np.float32
    np.testing.assert_allclose(run.ys["u"][-1], fm.simulate(flow, {"u": 1.0, "v": 8.0}, 5.0).ys["u"][-1], rtol=1e-3)
