"""Intervals contain what they say: exact fractions, 60 digits, samples, smaller boxes; and each rounding matters."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from flowmod.contraction.certificate import _intervals
from flowmod.contraction.certificate._intervals import continuous, enclose
from flowmod.contraction.certificate._jaxpr import program_of
from flowmod.contraction.certificate._program import Operation, Program

from .functions import FUNCTIONS

EXACT = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
}
# Each with the interval of exponents of ten from which its arguments are drawn, and whether they have both signs.
BY_DIGITS = {
    "exp": (mpmath.exp, (-20, 2.84), True),
    "expm1": (mpmath.expm1, (-20, 2.84), True),
    "log": (mpmath.log, (-320, 308), False),
    "log1p": (mpmath.log1p, (-20, 300), False),
    "tanh": (mpmath.tanh, (-20, 2), True),
    "sinh": (mpmath.sinh, (-20, 2.84), True),
    "cosh": (mpmath.cosh, (-20, 2.84), True),
    "logistic": (lambda x: 1 / (1 + mpmath.exp(-x)), (-20, 2.9), True),
    "sin": (mpmath.sin, (-20, 6), True),
    "cos": (mpmath.cos, (-20, 6), True),
    "sqrt": (mpmath.sqrt, (-320, 308), False),
    "integer_pow 2": (lambda x: x**2, (-200, 160), True),
    "integer_pow 5": (lambda x: x**5, (-70, 65), True),
    "integer_pow -3": (lambda x: x**-3, (-110, 110), True),
    "pow 2.5": (lambda x: x ** mpmath.mpf(2.5), (-130, 125), False),
    "pow -0.3": (lambda x: x ** mpmath.mpf(-0.3), (-300, 300), False),
}
EDGES = [0.0, 5e-324, 1e-310, 2.3e-308, 1 - 2**-53, 1.0, 1 + 2**-52, np.pi / 2, np.pi, 709.78, 745.1]


def one_operation(name):
    name, *exponent = name.split()
    parameter = None if not exponent else int(exponent[0]) if name == "integer_pow" else float(exponent[0])
    return Program(1, (Operation(name, (0,), parameter),), (1,))


def arguments(name, rng, count=1500):
    _, exponents, signed = BY_DIGITS[name]
    x = np.concatenate([10 ** rng.uniform(*exponents, count), EDGES])
    x = (
        np.concatenate([x, -np.array(EDGES)]) * np.concatenate([rng.choice([-1, 1], count), np.ones(22)])
        if signed
        else x
    )
    if name in ("sin", "cos"):
        x = np.concatenate([x, np.pi / 2 * np.arange(-60, 60)])
    return x[x != 0] if "-" in name or name == "log" else x


def misses(name, x):
    """How many point boxes do not contain the value in 60 digits."""
    low, high = enclose(one_operation(name), x[:, None], x[:, None])
    with mpmath.workdps(60):
        exact = [BY_DIGITS[name][0](mpmath.mpf(float(number))) for number in x]
        inside = [
            lo <= value <= hi for lo, value, hi in zip(low[:, 0].tolist(), exact, high[:, 0].tolist(), strict=True)
        ]
    return len(x) - sum(inside)


@pytest.mark.parametrize("name", BY_DIGITS)
def test_functions_contain_their_value_in_60_digits(name):
    x = arguments(name, np.random.default_rng(11))
    assert misses(name, x) == 0
    low, high = enclose(one_operation(name), x[:, None], x[:, None])
    usable = np.isfinite(high - low)
    # No wider than twice the slack, nowhere.
    floor = 1.0 if name in ("sin", "cos") else np.finfo(float).smallest_normal
    assert ((high - low)[usable] <= 3 * _intervals.SLACK * np.maximum(np.abs(low), floor)[usable] + 5e-308).all()


def pairs(rng, count):
    x, y = rng.choice([-1, 1], (2, count)) * 10 ** rng.uniform(-320, 308, (2, count))
    x[: count // 2], y[: count // 2] = rng.uniform(-2, 2, (2, count // 2))
    return x, np.where(y == 0, 1.0, y)


def wrong_fractions(name, x, y):
    program = Program(2, (Operation(name, (0, 1)),), (2,))
    points = np.stack([x, y], axis=1)
    low, high = enclose(program, points, points)
    wrong = 0
    for a, b, lo, hi in zip(x, y, low[:, 0], high[:, 0], strict=True):
        exact = EXACT[name](Fraction(a), Fraction(b))
        wrong += (np.isfinite(lo) and Fraction(lo) > exact) or (np.isfinite(hi) and Fraction(hi) < exact)
    return wrong


@pytest.mark.parametrize("name", EXACT)
def test_arithmetic_contains_the_exact_fraction(name):
    x, y = pairs(np.random.default_rng(5), 3000)
    assert wrong_fractions(name, x, y) == 0


# --- negative controls: each part of the rounding, taken away ---


@pytest.mark.parametrize("name", EXACT)
def test_without_outward_rounding_arithmetic_is_wrong(name, monkeypatch):
    monkeypatch.setattr(_intervals, "_outward", lambda low, high: (low, high))
    assert wrong_fractions(name, *pairs(np.random.default_rng(5), 300)) > 100


@pytest.mark.parametrize("name", ["exp", "tanh", "logistic", "pow 2.5", "sin"])
def test_without_slack_functions_are_wrong(name, monkeypatch):
    x = np.random.default_rng(1).uniform(0.1, 1, 400)
    monkeypatch.setattr(_intervals, "SLACK", 0.0)
    monkeypatch.setattr(_intervals, "_TINY", 0.0)
    monkeypatch.setattr(_intervals, "_outward", lambda low, high: (low, high))
    monkeypatch.setattr(_intervals, "_require_ieee", lambda: None)  # which asks for `_TINY`
    assert misses(name, x) > 100


def test_a_constant_sum_shows_the_rounding():
    # In floats 1 + 2^-60 - 1 is 0; the real number is not.
    program = program_of(lambda x: (x + 2.0**-60) - 1.0, 1)
    low, high = enclose(program, np.ones((1, 1)), np.ones((1, 1)))
    assert program.evaluate(np.ones((1, 1))) == 0
    assert low <= 2.0**-60 <= high


# --- boxes ---


@pytest.mark.parametrize("name", FUNCTIONS)
def test_boxes_contain_samples_and_smaller_boxes(name):
    rng = np.random.default_rng(2)
    program = program_of(FUNCTIONS[name], 3)
    middle = rng.uniform(-0.6, 0.6, (100, 1, 3))
    half = 0.3 * rng.uniform(size=(100, 1, 3)) ** 4
    low, high = enclose(program, (middle - half)[:, 0], (middle + half)[:, 0])
    points = middle + half * rng.uniform(-1, 1, (100, 100, 3))
    values = program.evaluate(points.reshape(-1, 3)).reshape(100, 100, -1)
    slack = 1e-14 * (1 + np.abs(values))
    assert (low[:, None] <= values + slack).all()
    assert (values <= high[:, None] + slack).all()
    inner = half * rng.uniform(size=half.shape)
    shift = (half - inner) * rng.uniform(-1, 1, half.shape)
    inside_low, inside_high = enclose(program, (middle + shift - inner)[:, 0], (middle + shift + inner)[:, 0])
    assert (low <= inside_low + slack[:, 0]).all()
    assert (inside_high <= high + slack[:, 0]).all()


@pytest.mark.parametrize("name", BY_DIGITS)
def test_functions_on_wide_boxes(name):
    # The ends and both sides of them in random order of magnitude: extrema, overflow, and the ends of a domain.
    rng = np.random.default_rng(9)
    x = np.sort(rng.permutation(arguments(name, rng, 1001))[:1000].reshape(-1, 2), axis=1)
    program = one_operation(name)
    low, high = enclose(program, x[:, :1], x[:, 1:])
    values = program.evaluate((x[:, :1] + (x[:, 1:] - x[:, :1]) * rng.uniform(size=(len(x), 40))).reshape(-1, 1))
    values = np.concatenate([values.reshape(len(x), 40), program.evaluate(x.reshape(-1, 1)).reshape(-1, 2)], axis=1)
    assert (low <= values).all()
    assert (values <= high).all()
    assert not np.isnan([low, high]).any()
    assert (low < np.inf).all()
    assert (high > -np.inf).all()


@pytest.mark.parametrize(
    ("fn", "low", "high", "expected"),
    [
        (lambda x: x * x, -1.0, 2.0, (0, 4)),
        (lambda x: x * x * x, -1.0, 2.0, (-1, 8)),
        (lambda x: x - x, -1.0, 2.0, (0, 0)),
        (lambda x: x / x, 1.0, 2.0, (0.5, 2)),
        (lambda x: 1 / x, 2.0, 4.0, (0.25, 0.5)),
        (lambda x: 1 / x, -1.0, 2.0, (-np.inf, np.inf)),
        (lambda x: 1 / x, 0.0, 2.0, (-np.inf, np.inf)),
        (lambda x: 1 / (1 + x**2), -1.0, 2.0, (0.2, 1)),
        (lambda x: 2 / (1 + x**2.5), 0.0, 4.0, (2 / 33, 2)),
        (lambda x: jnp.sqrt(x), 0.0, 4.0, (0, 2)),
        (lambda x: jnp.sqrt(x), -1e-300, 4.0, (-np.inf, np.inf)),
        (lambda x: jnp.sqrt(x * x + x**4), 0.0, 0.0, (0, 0)),
        (lambda x: jnp.log(x), 0.0, 1.0, (-np.inf, np.inf)),
        (lambda x: jnp.sin(x), 1.0, 2.0, (np.sin(1), 1)),
        (lambda x: jnp.cos(x), 1.0, 9.0, (-1, 1)),
        (lambda x: jnp.cos(x), -0.5, 0.25, (np.cos(0.5), 1)),
        (lambda x: jnp.cos(x), 3.0, 3.5, (-1, np.cos(3.5))),
        (lambda x: jnp.sin(x), 1e16, 1e16, (-1, 1)),
        (lambda x: jnp.cosh(x), -1.0, 0.5, (1, np.cosh(1))),
        (lambda x: jnp.exp(x) * 0.5, -800.0, 800.0, (0, np.inf)),
        (lambda x: jnp.tanh(jnp.exp(x)), 0.0, 1000.0, (np.tanh(1), 1)),
        (lambda x: jnp.exp(-jnp.exp(x)), 0.0, 1000.0, (0, np.exp(-1))),
        (lambda x: jnp.abs(x), -3.0, 2.0, (0, 3)),
        (lambda x: jnp.where(x < 0, -x, x), -3.0, 2.0, (-3, 3)),
    ],
)
def test_bounds_known_by_hand(fn, low, high, expected):
    bounds = enclose(program_of(lambda x: fn(x[0]), 1), np.array([[low]]), np.array([[high]]))
    np.testing.assert_allclose(np.ravel(bounds), expected, rtol=1e-13, atol=1e-15)


JUMPS = {
    "branches that differ": lambda x: jnp.where(x > 0, x, 1 - x),
    "a bare comparison": lambda x: (x > 0).astype(float) + x,
    "the derivative of a kink": jax.vmap(jax.grad(jax.nn.relu)),
    "not defined on both sides": jnp.log,
    "two conditions": lambda x: jnp.where((x > 0) & (x < 9), x, 1.0),
    "a switch of a switch": lambda x: jnp.where(x > 0, jnp.where(x**2 > 0.1, 1.0, 0.0), 0.0),
}
KINKS = {
    "max": lambda x: jnp.maximum(x, 0.2) + jnp.abs(x),
    "leaky": lambda x: jax.nn.leaky_relu(x),
    "elu": jax.nn.elu,
    "hill": lambda x: 1 / (1 + jnp.where(x > 0, jnp.where(x > 0, x, 1) ** 2.5, 0)),
    "guarded": lambda x: jnp.where(x < 0, 0, jnp.sqrt(x)) + jnp.where(x < 1, jnp.log(3 - x), jnp.log(2.0)),
    "of each other": lambda x: jnp.where(x > 2 * x**2, x, 2 * x**2),
    "saturated": lambda x: jnp.where(x < -0.25, -0.25, jnp.where(x > 0.25, 0.25, x)),
}


@pytest.mark.parametrize("name", [*JUMPS, *KINKS])
def test_where_a_function_is_continuous(name):
    program = program_of(JUMPS.get(name) or KINKS[name], 1)
    sure = continuous(program, np.array([[-1.0], [1.0]]), np.array([[0.5], [2.0]]))
    np.testing.assert_array_equal(sure, [name in KINKS, True])


# --- bad input ---


@pytest.mark.parametrize(
    ("lower", "upper", "complaint"),
    [
        ([0.0], [1.0], r"`lower` must have shape \(boxes, 1\), got \(1,\)"),
        ([[0.0]], [[1.0, 2.0]], r"`upper` must have shape \(boxes, 1\), got \(1, 2\)"),
        ([[0.0]], [[1.0], [2.0]], r"`upper` must have shape"),
        ([[0.0]], [[np.inf]], "`upper` must be finite"),
        ([[np.nan]], [[1.0]], "`lower` must be finite"),
        ([[0.0], [3.0]], [[1.0], [2.0]], "box 1 is empty: `lower` is 3.0 and `upper` 2.0 at input 0"),
    ],
)
def test_what_is_no_box_is_refused(lower, upper, complaint):
    with pytest.raises(ValueError, match=complaint):
        enclose(one_operation("exp"), np.array(lower), np.array(upper))


def test_a_thread_that_flushes_small_numbers_proves_nothing(monkeypatch):
    monkeypatch.setattr(_intervals, "_TINY", 5e-324)  # half of it is zero, as half of the smallest normal would be
    with pytest.raises(RuntimeError, match="flushes small numbers to zero"):
        enclose(one_operation("exp"), np.ones((1, 1)), np.ones((1, 1)))
