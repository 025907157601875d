"""JAX functions as programs: every operation gives JAX's numbers, and what can't be read is named with its line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import flowmod as fm
from flowmod.contraction.certificate._intervals import enclose
from flowmod.contraction.certificate._jaxpr import UnsupportedPrimitive, program_of
from flowmod.contraction.certificate._jaxpr.rules import RULES, where_of
from flowmod.contraction.jacobian import linearise

from ... import zoo
from .functions import ALSO_KNOWN_AS, FUNCTIONS, SOLVES


@pytest.fixture
def met(monkeypatch):
    """The primitives that a translation meets."""
    names = set()
    for name, rule in list(RULES.items()):

        def recording(translator, eqn, values, name=name, rule=rule):
            names.add(name)
            return rule(translator, eqn, values)

        monkeypatch.setitem(RULES, name, recording)
    return names


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(3).uniform(-0.9, 0.9, (40, 3))


def same(program, points, expected):
    expected = np.asarray(expected).reshape(len(points), -1)
    np.testing.assert_allclose(program.evaluate(points), expected, rtol=1e-12, atol=1e-12)


def test_every_operation_gives_the_numbers_of_jax(met, points):
    expected = jax.jit(jax.vmap(lambda x: {name: fn(x) for name, fn in FUNCTIONS.items()}))(points)
    for name, fn in FUNCTIONS.items():
        met.clear()
        program = program_of(fn, 3)
        assert name in met, f"this version of JAX has another name for `{name}`"
        same(program, points, expected[name])
        low, high = enclose(program, points, points)
        value = np.asarray(expected[name]).reshape(low.shape)
        slack = 1e-14 * (1 + np.abs(value))  # JAX rounds too
        assert (low <= value + slack).all(), name
        assert (value <= high + slack).all(), name
        assert (high - low <= 1e-11 * (1 + np.abs(value))).all(), name


def test_every_factorisation_gives_the_numbers_of_numpy(met, points):
    for name, (fn, exact) in SOLVES.items():
        met.clear()
        program = program_of(fn, 3)
        assert name in met, f"this version of JAX has another name for `{name}`"
        same(program, points, [exact(np.outer(x, x) + 2 * np.eye(3), x) for x in points])


def test_every_rule_is_tested():
    assert set(RULES) == {*FUNCTIONS, *SOLVES, *ALSO_KNOWN_AS}
    for other, name in ALSO_KNOWN_AS.items():
        assert RULES[other] is RULES[name]


def test_a_solve_is_a_solve():
    matrix = np.array([[0.5, 2.0, -1.0], [1.5, 0.3, 0.7], [-0.4, 1.1, 2.2]])
    program = program_of(lambda x: jnp.linalg.solve(jnp.asarray(matrix), x), 3)
    point = np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(program.evaluate(point[None])[0], np.linalg.solve(matrix, point), rtol=1e-13)


# --- the pencils that certificates are about ---


def pencil(flow, metric, y):
    leaves, structure = jax.tree.flatten(y)

    def fn(x):
        lin = linearise(flow, 0.0, jax.tree.unflatten(structure, list(x) if len(leaves) > 1 else [x]), None, metric)
        return jnp.stack(lin.pencil)

    return fn


def test_the_pencil_of_the_toggle_switch():
    a1, a2, n, m = zoo.BIOMD507["a1"], zoo.BIOMD507["a2"], zoo.BIOMD507["n"], zoo.BIOMD507["m"]
    state = {"u": jnp.asarray(1.0), "v": jnp.asarray(2.0)}
    program = program_of(pencil(zoo.toggle(), fm.Euclidean(), state), 2)
    points = np.random.default_rng(0).uniform(0.1, 3, (20, 2))
    u, v = points.T
    off = (-a1 * n * v ** (n - 1) / (1 + v**n) ** 2 - a2 * m * u ** (m - 1) / (1 + u**m) ** 2) / 2
    one, zero = np.ones(20), np.zeros(20)
    np.testing.assert_allclose(
        program.evaluate(points), np.stack([-one, off, off, -one, one, zero, zero, one], axis=1), rtol=1e-12
    )
    assert len(program.operations) < 60
    low, high = enclose(program, np.full((1, 2), 0.0), np.full((1, 2), 3.0))
    assert np.isfinite([low, high]).all(), "Hill functions have their derivative at 0"


@pytest.mark.parametrize("name", ["generic", "arm"])
def test_the_pencil_of_a_flow_in_its_own_metric(name):
    potential, mass, start = zoo.STATE_DEPENDENT[name]
    flow = fm.GradientFlow(potential, fm.DenseMetric(mass))
    fn = pencil(flow, flow.metric, jnp.asarray(start))
    program = program_of(fn, len(start))
    points = np.asarray(start) + np.random.default_rng(1).uniform(-0.2, 0.2, (4, len(start)))
    # One after the other: XLA may hang on factorisations side by side.
    same(program, points, jax.jit(lambda points: lax.map(fn, points))(points))
    low, high = enclose(program, points - 1e-3, points + 1e-3)
    assert (low <= program.evaluate(points)).all()
    assert (program.evaluate(points) <= high).all()
    assert (high - low < 1).all()


def test_a_network_and_its_derivatives():
    rng = np.random.default_rng(2)
    first, second = (jnp.asarray(rng.normal(size=shape)) for shape in ((4, 2), (2, 4)))
    points = rng.uniform(-1, 1, (30, 2))

    def net(x):
        return second @ jax.nn.softplus(jnp.tanh(first @ x))

    def derivatives(x):
        return jnp.stack([jax.jacfwd(net)(x), jax.jacrev(net)(x), jnp.outer(*jax.jvp(net, (x,), (x,)))])

    same(program_of(derivatives, 2), points, jax.jit(jax.vmap(derivatives))(points))


# --- what is undefined stays so ---


def test_a_branch_that_is_not_a_number_is_not_dropped():
    program = program_of(lambda x: jnp.where(x <= 1, x, jnp.nan), 1)
    low, high = enclose(program, np.array([[0.0], [0.0], [2.0]]), np.array([[1.0], [1.5], [3.0]]))
    np.testing.assert_array_equal(low[:, 0], [0, -np.inf, -np.inf])
    np.testing.assert_array_equal(high[:, 0], [1, np.inf, np.inf])


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: jnp.tanh(jnp.log(x)),
        lambda x: jnp.sin(jnp.sqrt(x)),
        lambda x: jnp.exp(-1 / x**2),
        lambda x: 0 * jnp.log(x),
        lambda x: jnp.log(x) - jnp.log(x),
        lambda x: jnp.where(jnp.log(x) == jnp.log(x), 1.0, 1.0),
        lambda x: jnp.where(jnp.isfinite(jnp.log(x)), 1.0, 1.0),
        lambda x: jnp.maximum(jnp.where(x > 0.5, jnp.inf, x), 3.0),
        lambda x: jnp.cos(jnp.linalg.solve(jnp.diag(x), x)),
        lambda x: jnp.inf * (x - x),
        lambda x: jnp.where(x > 0, jnp.inf, jnp.inf) - jnp.inf,
        lambda x: jnp.where(x > 0, jnp.where(x > 0, jnp.inf, 1.0) - jnp.where(x > 0, jnp.inf, 1.0), x),
        lambda x: jax.nn.softmax(jnp.concatenate([x, jnp.log(x)])),
    ],
)
def test_a_bounded_function_of_something_undefined_is_not_bounded(fn):
    low, high = enclose(program_of(fn, 1), np.array([[-1.0]]), np.array([[1.0]]))
    assert (low == -np.inf).all()
    assert (high == np.inf).all()


def test_a_guard_inside_a_guard_costs_nothing():
    program = program_of(lambda x: jnp.where(x > 0, jnp.where(x > 0, x, 1) ** 2.5, 0), 1)
    low, high = enclose(program, np.array([[0.0]]), np.array([[0.01]]))
    assert 0 <= low <= high <= 1.0001e-5


def test_a_comparison_that_is_not_decided_gives_both_sides():
    slope = program_of(jax.vmap(jax.grad(jax.nn.relu)), 1)
    low, high = enclose(slope, np.array([[-1.0], [1.0], [-2.0]]), np.array([[1.0], [2.0], [-1.0]]))
    np.testing.assert_array_equal([low[:, 0], high[:, 0]], [[0, 1, 0], [1, 1, 0]])
    slopes = program_of(jax.grad(lambda x: jnp.maximum(jnp.maximum(x[0], 2 * x[1]), 3 * x[2])), 3)
    low, high = enclose(slopes, np.array([[0.5, 0.5, 0.1]]), np.array([[1.2, 1.0, 0.2]]))
    np.testing.assert_allclose([low[0], high[0]], [[0, 0, 0], [1, 2, 0]], atol=1e-15)


def test_rounding_is_not_folded_into_constants():
    # 0.1 + 0.2 is not the float 0.3...04: the real sum lies strictly inside.
    program = program_of(lambda x: x * (jnp.asarray([0.1]) + jnp.asarray([0.2])), 1)
    low, high = enclose(program, np.ones((1, 1)), np.ones((1, 1)))
    assert low < high


def test_conditions_are_counted_and_moved():
    points = np.array([[-1.0, 2.0, 3.0], [1.0, -2.0, -0.5]])
    count = program_of(lambda x: (jnp.sum((x > 0).astype(jnp.int8), dtype=jnp.int8) - 3).astype(float), 3)
    np.testing.assert_array_equal(count.evaluate(points)[:, 0], [-1, -2])
    moved = program_of(lambda x: jnp.where((x > 0).at[0].set(True), x, 0.0), 3)
    np.testing.assert_array_equal(moved.evaluate(points), [[-1, 2, 3], [1, 0, 0]])


# --- what can't be read ---


def line_of(function):
    return f"test_jaxpr.py:{function.__code__.co_firstlineno}"


@pytest.mark.parametrize(
    ("primitive", "fn"),
    [
        ("floor", lambda x: jnp.floor(x)),
        ("eigh", lambda x: jnp.linalg.eigvalsh(jnp.outer(x, x))),
        ("sort", lambda x: jnp.sort(x)),
        ("pure_callback", lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct((2,), float), x)),
    ],
)
def test_an_unknown_operation_is_named_with_the_line(primitive, fn):
    with pytest.raises(UnsupportedPrimitive, match=rf"uses `{primitive}` at .*{line_of(fn)} .*no interval") as caught:
        program_of(fn, 2)
    assert caught.value.primitive == primitive


@pytest.mark.parametrize(
    ("fn", "reason"),
    [
        (lambda x: x[jnp.argmax(x)], "argmax"),
        (lambda x: x[(x[0] > 0).astype(int)], "at an index that depends on the state"),
        (lambda x: lax.while_loop(lambda y: y[0] < 9, lambda y: 2 * y, x), "number of turns depends on the state"),
        (lambda x: jnp.fmod(x, 2.0), "jumps with the state"),
        (lambda x: x.astype(int).astype(float), "makes a whole number"),
        (lambda x: x.astype(jnp.float32), "in float32. A proof is about float64"),
        (lambda x: x + (jnp.ones(2, jnp.float32) * jnp.float32(0.1)).astype(float), "in float32"),
        (lambda x: ((x > 0).astype(jnp.uint8) - jnp.uint8(2)).astype(float), "`sub` .* may not fit in uint8"),
        (lambda x: jnp.where(x > 0, 300, 0).astype(jnp.uint8).astype(float), "may not fit in uint8"),
        (lambda x: jnp.sum(100 * (x > 0).astype(jnp.int8), dtype=jnp.int8).astype(float), "may not fit in int8"),
    ],
)
def test_what_depends_on_the_state_in_the_wrong_way_is_refused(fn, reason):
    with pytest.raises(UnsupportedPrimitive, match=reason):
        program_of(fn, 2)


def test_without_a_place_the_message_has_none():
    assert where_of(object()) == ""
    assert str(UnsupportedPrimitive("eigh", "")).startswith("The function uses `eigh`, which has no interval")


def test_single_precision_and_several_results_are_refused():
    with pytest.raises(ValueError, match="must return one array, got 2"):
        program_of(lambda x: (x, x), 2)
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(ValueError, match="jax_enable_x64"):
            program_of(lambda x: x, 2)
    finally:
        jax.config.update("jax_enable_x64", True)
