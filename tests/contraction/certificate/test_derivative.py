"""Derivatives of programs against finite differences, and the mean value form that they make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowmod.contraction.certificate import _derivative
from flowmod.contraction.certificate._derivative import jacobian_of
from flowmod.contraction.certificate._intervals import enclose, enclose_mean_value
from flowmod.contraction.certificate._jaxpr import program_of
from flowmod.contraction.certificate._program import Operation, Program

from ... import zoo
from .functions import FUNCTIONS, SOLVES


def worst_against_differences(program, points, step=1e-5):
    """The largest difference between the derivative and central differences, relative to the derivative's size."""
    exact = jacobian_of(program).evaluate(points).reshape(len(points), -1, program.inputs)
    worst = 0.0
    for i, unit in enumerate(np.eye(program.inputs)):
        change = program.evaluate(points + step * unit) - program.evaluate(points - step * unit)
        worst = max(worst, float(np.max(np.abs(exact[..., i] - change / (2 * step)) / (1 + np.abs(exact[..., i])))))
    return worst


FNS = {**FUNCTIONS, **{name: fn for name, (fn, _) in SOLVES.items()}}


@pytest.mark.parametrize("name", FNS)
def test_derivatives_agree_with_finite_differences(name):
    points = np.random.default_rng(4).uniform(-0.9, 0.9, (30, 3))
    assert worst_against_differences(program_of(FNS[name], 3), points) < 1e-7


def test_a_wrong_derivative_is_found(monkeypatch):
    monkeypatch.setitem(_derivative._PARTIALS, "cos", lambda b, x, value, _: [b.apply("sin", x)])
    assert worst_against_differences(program_of(jnp.cos, 1), np.array([[0.7]])) > 0.1


def test_custom_rules_do_not_count():
    # `stop_gradient` makes JAX's derivative another function than the derivative.
    def fn(x):
        return jax.lax.stop_gradient(x) ** 2

    point = np.array([[0.5]])
    assert jacobian_of(program_of(fn, 1)).evaluate(point) == 1.0
    assert program_of(jax.jacfwd(fn), 1).evaluate(point) == 0.0


def test_powers_whose_next_lower_exponent_is_no_float():
    for p in (0.3, 0.1, 1.5):
        program = Program(1, (Operation("pow", (0,), p),), (1,))
        np.testing.assert_allclose(jacobian_of(program).evaluate([[2.0]]), [[p * 2 ** (p - 1)]], rtol=1e-15)


def test_the_derivative_is_undefined_where_the_function_is():
    program = program_of(jnp.log, 1)
    assert np.isnan(jacobian_of(program).evaluate([[-1.0]]))


def test_kinks_have_both_slopes():
    program = program_of(lambda x: jnp.stack([jnp.abs(x[0]), jnp.minimum(x[0], x[1]), jnp.maximum(x[0], x[1])]), 2)
    low, high = enclose(jacobian_of(program), np.full((1, 2), -1.0), np.full((1, 2), 1.0))
    np.testing.assert_array_equal(low, [[-1, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(high, [[1, 0, 1, 1, 1, 1]])


def overestimation(program, half):
    """Widths of both forms over the width of samples, on boxes of this half width."""
    rng = np.random.default_rng(8)
    middle = rng.uniform(0.5, 1.5, (40, program.inputs))
    boxes = middle - half, middle + half
    natural, mean = enclose(program, *boxes), enclose_mean_value(program, jacobian_of(program), *boxes)
    points = middle[:, None] + half * rng.uniform(-1, 1, (40, 400, program.inputs))
    values = program.evaluate(points.reshape(-1, program.inputs)).reshape(40, 400, -1)
    for low, high in (natural, mean):
        assert (low[:, None] <= values + 1e-13).all()
        assert (values <= high[:, None] + 1e-13).all()
    assert (mean[0] >= natural[0]).all()
    assert (mean[1] <= natural[1]).all()
    seen = (values.max(axis=1) - values.min(axis=1)).sum()
    return (natural[1] - natural[0]).sum() / seen, (mean[1] - mean[0]).sum() / seen


def test_the_mean_value_form_is_nearly_exact_on_narrow_boxes():
    toggle = zoo.toggle()

    def off_diagonal(x):
        jacobian = jax.jacfwd(lambda x: jnp.stack(list(toggle.vector_field(0.0, {"u": x[0], "v": x[1]}).values())))(x)
        return jacobian[0, 1] + jacobian[1, 0]

    for fn in (off_diagonal, lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2 + 2 * x[0] * x[1]):
        program = program_of(fn, 2)
        natural, mean = overestimation(program, 1e-3)
        assert natural > 2
        assert mean < 1.15
        wide, _ = overestimation(program, 0.3)
        assert wide > 2


def test_the_mean_value_form_with_a_wrong_derivative_is_wrong():
    program = program_of(lambda x: jnp.sin(3 * x), 1)
    flat = Program(1, (Operation("constant", (), 0.0),), (1,))
    low, high = enclose_mean_value(program, flat, np.array([[0.0]]), np.array([[0.1]]))
    assert not low <= np.sin(0.3) <= high


def test_the_mean_value_form_does_not_trust_a_jump():
    program = program_of(lambda x: jnp.where(x > 0, x + 1, x), 1)
    low, high = enclose_mean_value(program, jacobian_of(program), np.array([[-0.1]]), np.array([[0.3]]))
    assert low <= -0.1 <= 1.3 <= high


def test_an_undefined_slope_leaves_the_natural_bounds():
    program = program_of(jnp.sqrt, 1)
    low, high = enclose_mean_value(program, jacobian_of(program), np.zeros((1, 1)), np.ones((1, 1)))
    np.testing.assert_allclose([low, high], [[[0]], [[1]]], atol=1e-15)


def test_a_derivative_of_another_function_is_refused():
    program = program_of(lambda x: x**2, 2)
    with pytest.raises(ValueError, match="`derivative` must map 2 inputs to 4 outputs, got 2 and 2"):
        enclose_mean_value(program, program, np.zeros((1, 2)), np.ones((1, 2)))
