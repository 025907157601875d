"""A method is one order nearer to its first modified flow than to the flow, and two orders nearer to its second.

The iterates come from oracle o12 and from plain NumPy loops; the modified flows are integrated by SciPy.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import flowmod as fm

O12 = "o12_euler_order_modified_equation"


def o12_potential(q, args):
    x, y = q
    return x**4 / 4 + x**2 / 2 + 0.3 * x * y + y**2


def o12_metric(q, curved):
    """Flat for `curved = 0`, the oracle's state-dependent, non-diagonal metric for 1."""
    x, y = q
    off = curved * x / 5
    return jnp.stack([jnp.stack([1 + curved * x**2, off]), jnp.stack([off, 1 + curved * (0.5 + jnp.sin(y))])])


O12_FLOW = fm.GradientFlow(o12_potential, fm.DenseMetric(o12_metric))


@eqx.filter_jit
def field(flow, h, order, method, t, y, args=None):
    """The modified vector field, or the flow's own, compiled once for all step sizes."""
    followed = flow if order == 0 else fm.modified_flow(flow, h, order, method)
    return followed.vector_field(t, y, args)


def end_of(flow, h, order, method, y0, args=None, t1=1.0):
    """Where SciPy leads along the modified flow."""
    h = jnp.asarray(h)

    def right(t, y):
        return np.asarray(field(flow, h, order, method, jnp.asarray(t), jnp.asarray(y), args))

    return solve_ivp(right, (0.0, t1), y0, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]


def slopes(counts, errors):
    return np.diff(np.log(errors)) / -np.diff(np.log(counts))


def gaps(flow, method, counts, ends, order, y0, args=None):
    """How far iterates after `counts` steps of length `1 / count` are from the modified flow."""
    there = [end_of(flow, 1 / count, order, method, y0, args) for count in counts]
    return np.array([np.linalg.norm(end - place) for end, place in zip(ends, there, strict=True)])


# --- oracle o12: a flat metric, and one that is state dependent and not diagonal ---


@pytest.mark.parametrize(("geometry", "curved"), [("flat", 0.0), ("curved", 1.0)])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_euler_has_slopes_one_two_three(oracle, geometry, curved, order):
    inputs, expected = oracle(O12)["inputs"], oracle(O12)["results"][geometry]
    counts = inputs["N"][1:]
    ends = [expected["euler_end"][str(count)] for count in counts]
    found = gaps(O12_FLOW, "euler", counts, ends, order, inputs["x0"], jnp.asarray(curved))
    reference = expected[("err_vs_flow", "err_vs_mod1", "err_vs_mod2")[order]][1:]
    np.testing.assert_allclose(found, reference, rtol=1e-4)
    np.testing.assert_allclose(slopes(counts, found), order + 1, atol=0.05)


def test_the_geodesic_step_follows_the_covariant_flow(oracle):
    inputs, expected = oracle(O12)["inputs"], oracle(O12)["results"]["curved"]
    counts = [20, 40, 80]
    ends = [expected["geodesic_euler_end"][str(count)] for count in counts]
    found = gaps(O12_FLOW, "geodesic", counts, ends, 1, inputs["x0"], jnp.asarray(1.0))
    np.testing.assert_allclose(found, expected["geodesic_err_vs_covariant_modified"], rtol=1e-4)
    np.testing.assert_allclose(slopes(counts, found), 2, atol=0.05)


def test_without_the_coordinates_term_straight_steps_keep_slope_one(oracle):
    """The negative control: `-grad_M (f + (h/4) |grad f|_M^2)` without `(h/2) Gamma(v, v)`, for coordinate steps."""
    inputs, expected = oracle(O12)["inputs"], oracle(O12)["results"]["curved"]
    ends = [expected["euler_end"][str(count)] for count in inputs["N"]]
    found = slopes(inputs["N"], gaps(O12_FLOW, "geodesic", inputs["N"], ends, 1, inputs["x0"], jnp.asarray(1.0)))
    np.testing.assert_allclose(found, expected["coordinate_euler_vs_covariant_modified_loss_slopes"], atol=1e-3)
    assert np.all(found < 1.05)


# --- coefficients in closed form ---


@pytest.mark.parametrize(
    ("method", "first", "second"),
    [
        ("euler", (2, -1 / 2), (3, 1 / 3)),  # log(1 + z)
        ("implicit_euler", (2, 1 / 2), (3, 1 / 3)),  # -log(1 - z)
        ("heun", (3, -1 / 6), (4, 1 / 8)),  # log(1 + z + z^2 / 2)
        ("rk4", (5, -1 / 120), (6, 1 / 144)),
    ],
)
def test_of_a_linear_system_it_is_the_logarithm_of_a_step(method, first, second):
    """The steps are `R(hA)^n`, so that they follow the matrix `log(R(hA)) / h`."""
    a, h, y = np.array([[-1.0, 2.0], [-0.5, -0.3]]), 0.3, np.array([0.4, -1.2])
    flow, expected = fm.VectorField(lambda t, y, args: jnp.asarray(a) @ y), a @ y
    for order, (power, coefficient) in enumerate((first, second), start=1):
        expected = expected + coefficient * np.linalg.matrix_power(h * a, power) @ y / h
        found = field(flow, jnp.asarray(h), order, method, 0.0, jnp.asarray(y))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_forcing_brings_its_time_derivatives():
    """`y' = -y + sin 2t`: `v - (h/2) (v_t + v'v) + h^2 (v_tt / 12 + v'v_t / 3 + v'v'v / 3)`."""
    t, y, h = 0.7, np.array([0.9]), 0.2
    v, v_t, v_tt = -y + np.sin(2 * t), 2 * np.cos(2 * t), -4 * np.sin(2 * t)
    flow = fm.VectorField(lambda t, y, args: jnp.sin(2 * t) - y)
    first = v - h / 2 * (v_t - v)
    second = first + h**2 * (v_tt / 12 - v_t / 3 + v / 3)
    for order, expected in ((1, first), (2, second)):
        np.testing.assert_allclose(field(flow, jnp.asarray(h), order, "euler", t, jnp.asarray(y)), expected, rtol=1e-13)


# --- a field that is no gradient and depends on time; steps that bend, or end where they should ---


def forced(t, y, args):
    """A driven Van der Pol oscillator."""
    return jnp.stack([y[1] + 0.3 * jnp.sin(3 * t), (1 - y[0] ** 2) * y[1] - y[0] + jnp.cos(2 * t)])


def numpy_forced(t, y):
    return np.array([y[1] + 0.3 * np.sin(3 * t), (1 - y[0] ** 2) * y[1] - y[0] + np.cos(2 * t)])


def euler_step(t, y, h):
    return y + h * numpy_forced(t, y)


def implicit_step(t, y, h):
    found = y
    for _ in range(60):
        found = y + h * numpy_forced(t + h, found)
    return found


def heun_step(t, y, h):
    here = numpy_forced(t, y)
    return y + h / 2 * (here + numpy_forced(t + h, y + h * here))


@pytest.mark.parametrize(
    ("method", "step", "power"),
    [("euler", euler_step, 1), ("implicit_euler", implicit_step, 1), ("heun", heun_step, 2)],
)
def test_a_driven_oscillator(method, step, power):
    assert_orders(fm.VectorField(forced), method, step, power, [1.0, 0.5], [40, 80, 160])


def assert_orders(flow, method, step, power, y0, counts):
    ends = []
    for count in counts:
        y = np.array(y0)
        for n in range(count):
            y = step(n / count, y, 1 / count)
        ends.append(y)
    for order in (0, 1, 2):
        found = slopes(counts, gaps(flow, method, counts, ends, order, y0))
        np.testing.assert_allclose(found[-1], power + order, atol=0.05)


LINE_FLOW = fm.GradientFlow(lambda y, args: jnp.sum(y**4 / 4 + y), fm.DiagonalMetric(lambda y, args: 1 + y**2))


def slope_of(y):
    return y**3 + 1


def bent_step(t, y, h):
    v = -slope_of(y) / (1 + y**2)
    return y + h * v - h**2 / 2 * y / (1 + y**2) * v**2


def moving_step(t, y, h):
    found = y
    for _ in range(60):
        found = y - h * slope_of(found) / (1 + y**2)
    return found


def length_on_line(y):
    return (y * np.sqrt(1 + y**2) + np.arcsinh(y)) / 2


def geodesic_step(t, y, h):
    """In the length of the line a geodesic is straight."""
    wanted = length_on_line(y) - h * slope_of(y) / np.sqrt(1 + y**2)
    found = y
    for _ in range(20):
        found = found - (length_on_line(found) - wanted) / np.sqrt(1 + found**2)
    return found


@pytest.mark.parametrize(
    ("method", "step"), [("retraction", bent_step), ("minimizing_movement", moving_step), ("geodesic", geodesic_step)]
)
def test_steps_in_a_curved_metric_of_the_line(method, step):
    assert_orders(LINE_FLOW, method, step, 1, [0.8], [80, 160, 320])


def test_the_mirror_step_is_multiplicative():
    """`y+ = y exp(-h f')` has `h^2 y f'^2 / 2` in the second power, the flow `h^2 v'v / 2` with `v = -y f'`."""
    entropy = fm.HessianMetric(lambda y, args: jnp.sum(y * jnp.log(y)))
    flow, y, h = fm.GradientFlow(lambda y, args: jnp.sum(y**4 / 4 - y), entropy), np.array([1.7]), 0.2
    slope, curvature = y**3 - 1, 3 * y**2
    expected = -y * slope - h / 2 * y**2 * slope * curvature
    np.testing.assert_allclose(field(flow, jnp.asarray(h), 1, "mirror", 0.0, jnp.asarray(y)), expected, rtol=1e-12)


# --- the modified loss ---

NET = fm.Linear(2, 3, key=jax.random.key(0)) >> fm.Pointwise(jnp.tanh) >> fm.Linear(3, 1, key=jax.random.key(1))
INPUTS, TARGETS = jax.random.normal(jax.random.key(2), (6, 2)), jax.random.normal(jax.random.key(3), (6, 1))
PROBLEM = fm.Supervised(NET, fm.MeanSquaredError(), INPUTS, TARGETS)


@pytest.mark.parametrize(("method", "sign"), [("euler", 1), ("implicit_euler", -1)])
def test_the_modified_loss_of_a_network(method, sign):
    """Both routes, and the loss by a plain gradient."""
    flow, h = fm.GradientFlow(PROBLEM), 0.4
    potential = fm.modified_potential(flow, h, method)
    loss, gradient = eqx.filter_jit(eqx.filter_value_and_grad(PROBLEM))(NET, None)
    squared = sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient))
    np.testing.assert_allclose(eqx.filter_jit(potential)(NET, None), loss + sign * h / 4 * squared, rtol=1e-12)
    descent = field(fm.GradientFlow(potential), None, 0, method, 0.0, NET)
    for one, other in zip(jax.tree.leaves(descent), jax.tree.leaves(field(flow, h, 1, method, 0.0, NET)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-14)


def test_of_geodesic_steps_there_is_a_loss_in_any_metric():
    y, h, one = jnp.array([1.1, 0.8]), jnp.asarray(0.3), jnp.asarray(1.0)
    descent = fm.GradientFlow(fm.modified_potential(O12_FLOW, h, "geodesic"), O12_FLOW.metric)
    one_route, other = field(descent, h, 0, "geodesic", 0.0, y, one), field(O12_FLOW, h, 1, "geodesic", 0.0, y, one)
    np.testing.assert_allclose(one_route, other, rtol=1e-12)
    assert not np.array_equal(one_route, other)
    straight = field(O12_FLOW, h, 1, "euler", 0.0, y, one)
    gamma_vv = np.array([0.6247571723697674, 0.14408863100728198])  # of o12
    np.testing.assert_allclose(straight - other, 0.3 / 2 * gamma_vv, rtol=1e-10)


def test_a_block_metric_of_constant_blocks_has_a_loss():
    metric = fm.BlockMetric((fm.Euclidean(), fm.ConstantMetric(4.0 * jnp.eye(1))), weights=(2.0, 1.0))
    flow = fm.GradientFlow(lambda y, args: jnp.sum(y[0] ** 2) + jnp.sum(y[1] ** 2) / 2, metric)
    y = (jnp.array([1.5]), jnp.array([-2.0]))
    potential = eqx.filter_jit(fm.modified_potential(flow, 0.4))
    assert float(potential(y, None)) == pytest.approx(4.25 + 0.1 * (3.0**2 / 2 + 2.0**2 / 4))


# --- where it goes: runs, rates, transformations, trees ---


def test_a_modified_flow_is_simulated_and_measured():
    """Of `y' = -a y` Euler's first modified flow is `y' = -(a + h a^2 / 2) y`."""
    flow = fm.GradientFlow(lambda y, args: jnp.sum(y**2), units={"time": "s"})
    modified = fm.modified_flow(flow, 0.1)
    assert modified.metric is flow.metric
    assert modified.potential is flow.potential
    assert modified.units == flow.units
    assert float(fm.contraction_rate(modified, jnp.ones(1))) == pytest.approx(2.2)
    run = fm.simulate(modified, jnp.ones(1), t1=1.0, rtol=1e-10)
    np.testing.assert_allclose(run.ys[-1], [np.exp(-2.2)], rtol=1e-8)


def test_step_sizes_are_traced():
    flow, y = fm.GradientFlow(o12_potential), jnp.array([1.1, 0.8])

    def velocity(h):
        return fm.modified_flow(flow, h).vector_field(0.0, y)

    many, slope = jax.jit(lambda steps: (jax.vmap(velocity)(steps), jax.jacfwd(velocity)(0.1)))(jnp.array([0.05, 0.2]))
    np.testing.assert_allclose(slope, (many[1] - many[0]) / 0.15, rtol=1e-10)
    np.testing.assert_allclose(slope, [-12.94573 / 2, -4.6613 / 2], rtol=1e-10)  # of o12


def test_trees_keep_their_precisions():
    def fn(t, y, args):
        return {"a": -(y["a"] ** 2), "b": -args * y["b"]}

    y = {"a": jnp.array([2.0], jnp.float32), "b": jnp.array(3.0)}
    velocity = field(fm.VectorField(fn), jnp.asarray(0.1), 2, "euler", 0.0, y, jnp.asarray(2.0))
    assert velocity["a"].dtype == jnp.float32
    assert velocity["b"].dtype == jnp.float64
    np.testing.assert_allclose(velocity["b"], -6 * (1 + 0.1 + 0.04 / 3), rtol=1e-14)
    v, dv, ddv = -4.0, -4.0, -2.0
    expected = v - 0.05 * dv * v + 0.01 * (ddv * v**2 / 12 + dv * dv * v / 3)
    np.testing.assert_allclose(velocity["a"], [expected], rtol=1e-6)


def test_what_is_not_finite_stays_so():
    flow = fm.GradientFlow(lambda y, args: jnp.sum(jnp.log(y)))
    assert np.isnan(field(flow, jnp.asarray(0.1), 1, "euler", 0.0, jnp.array([-1.0]))).all()


# --- bad input ---

INERTIAL = fm.InertialFlow(o12_potential)
PLAIN = fm.VectorField(forced)


@pytest.mark.parametrize(
    ("flow", "options", "complaint"),
    [
        (O12_FLOW, {"order": 3}, "`order` must be 1 or 2, the number of terms added to the flow, got 3"),
        (O12_FLOW, {"order": 0}, "`order` must be 1 or 2"),
        (O12_FLOW, {"step_size": 0.0}, r"`step_size` must be a positive, finite number.*got 0.0"),
        (O12_FLOW, {"step_size": -0.1}, "`step_size` must be a positive"),
        (O12_FLOW, {"step_size": float("nan")}, "`step_size` must be a positive"),
        (O12_FLOW, {"step_size": lambda n: 0.1}, "`step_size` must be a number, got the schedule"),
        (O12_FLOW, {"method": "adams"}, "`method` must be one of 'euler', .*'mirror', got 'adams'"),
        (O12_FLOW, {"method": "mirror"}, "needs a flow whose metric is a `fm.HessianMetric`, got DenseMetric"),
        (PLAIN, {"method": "geodesic"}, "needs a flow whose metric is a `fm.AbstractMetric`, got NoneType"),
        (PLAIN, {"method": "minimizing_movement"}, "needs a `fm.GradientFlow`, got VectorField"),
        (INERTIAL, {}, "`flow` must be of first order, got InertialFlow: .*fm.VectorField"),
        (o12_potential, {}, "`flow` must be a flow, got function"),
    ],
)
def test_no_modified_flow_of_the_wrong_thing(flow, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        fm.modified_flow(flow, **{"step_size": 0.1, **options})


@pytest.mark.parametrize(
    ("flow", "method", "complaint"),
    [
        (O12_FLOW, "euler", "has no known modified loss in a DenseMetric.*fm.modified_flow.*fm.ConstantMetric"),
        (LINE_FLOW, "implicit_euler", "has no known modified loss in a DiagonalMetric"),
        (O12_FLOW, "heun", "`method` must be one of 'euler', .*got 'heun'"),
        (PLAIN, "euler", "`flow` must be a gradient flow, got VectorField"),
        (
            fm.GradientFlow(o12_potential, fm.MovingMetric(lambda t, y, args: (1 + t) * jnp.eye(2))),
            "geodesic",
            "has no known modified loss in a MovingMetric",
        ),
    ],
)
def test_no_modified_loss_where_there_is_none(flow, method, complaint):
    with pytest.raises(ValueError, match=complaint):
        fm.modified_potential(flow, 0.1, method)


def test_no_modified_loss_of_a_negative_step():
    with pytest.raises(ValueError, match="`step_size` must be a positive"):
        fm.modified_potential(fm.GradientFlow(o12_potential), -1.0)
