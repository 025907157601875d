"""A flow as an optax optimizer: its updates are an integrator's steps, in every dtype and tree, under every wrapper.

Implicit steps, geodesics, momentum and mirror steps have files of their own.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import flowmod as fm
from flowmod.discrete import discretize
from tests.discrete.iterates import marcher, slopes
from tests.zoo import STATE_DEPENDENT, rosenbrock

FLOWS = {name: (fm.GradientFlow(f, fm.DenseMetric(m)), jnp.array(y0)) for name, (f, m, y0) in STATE_DEPENDENT.items()}


def descend(flow, h, y, steps, method="euler", args=None):
    """A loop of updates, each with the potential's gradient."""
    optimizer = discretize(flow, h, method, args)
    state = optimizer.init(y)
    for _ in range(steps):
        gradient = eqx.filter_grad(lambda y: flow.potential(y, args))(y)
        updates, state = optimizer.update(gradient, state, y)
        y = eqx.apply_updates(y, updates)
    return y, updates, state


def o12_potential(q, args):
    x, y = q
    return x**4 / 4 + x**2 / 2 + 0.3 * x * y + y**2


def o12_curved(q, args):
    x, y = q
    return jnp.stack([jnp.stack([1 + x**2, x / 5]), jnp.stack([x / 5, 1.5 + jnp.sin(y)])])


# --- the steps ---


@pytest.mark.parametrize("name", FLOWS)
def test_euler_is_a_step_along_the_flow(name):
    flow, y = FLOWS[name]
    _, updates, state = descend(flow, 0.1, y, 1)
    np.testing.assert_allclose(updates, 0.1 * flow.vector_field(0.0, y), rtol=1e-14)
    assert int(state.count) == 1


@pytest.mark.parametrize(("geometry", "metric"), [("flat", None), ("curved", fm.DenseMetric(o12_curved))])
@pytest.mark.parametrize("steps", [20, 80])
def test_euler_equals_an_independent_loop(oracle, geometry, metric, steps):
    expected = oracle("o12_euler_order_modified_equation")
    flow = fm.GradientFlow(o12_potential, metric)
    start, end = jnp.array(expected["inputs"]["x0"]), expected["results"][geometry]["euler_end"][str(steps)]
    optimizer = discretize(flow, 1.0 / steps)

    def step(carry, _):
        y, state = carry
        updates, state = optimizer.update(jax.grad(o12_potential)(y, None), state, y)
        return (optax.apply_updates(y, updates), state), None

    (y, state), _ = jax.jit(lambda y: jax.lax.scan(step, (y, optimizer.init(y)), length=steps))(start)
    np.testing.assert_allclose(y, end, rtol=1e-12)
    assert int(state.count) == steps


def test_iterates_on_a_quadratic_are_powers(oracle):
    h_matrix, mass = (jnp.array(oracle("o10_step_limits")["inputs"][key]) for key in ("H", "M"))
    flow = fm.GradientFlow(lambda y, args: y @ h_matrix @ y / 2, fm.ConstantMetric(mass))
    a = np.linalg.solve(mass, h_matrix)
    y0 = np.array([1.0, -2.0])
    terms = np.cumsum([np.linalg.matrix_power(-0.1 * a, k) / math.factorial(k) for k in range(5)], axis=0)
    for method, polynomial in (("euler", terms[1]), ("heun", terms[2]), ("rk4", terms[4])):
        end, *_ = descend(flow, 0.1, jnp.array(y0), 7, method)
        np.testing.assert_allclose(end, np.linalg.matrix_power(polynomial, 7) @ y0, rtol=1e-12)


@pytest.mark.parametrize(("method", "order"), [("heun", 2), ("rk4", 4)])
def test_orders_of_runge_kutta(oracle, method, order):
    """Towards the end of the flow that SciPy found."""
    expected = oracle("o12_euler_order_modified_equation")
    march = marcher(fm.GradientFlow(o12_potential, fm.DenseMetric(o12_curved)), method)
    start, end = np.array(expected["inputs"]["x0"]), np.array(expected["results"]["curved"]["flow_end"])
    errors = [np.linalg.norm(march(start, 1 / steps, steps) - end) for steps in (20, 40, 80)]
    assert slopes(errors) == pytest.approx([order, order], abs=0.05)


def test_euler_takes_the_gradient_that_it_is_given():
    flow, y = FLOWS["arm"]
    optimizer = discretize(flow, 0.5)
    gradient = jnp.array([3.0, -1.0])
    updates, _ = optimizer.update(gradient, optimizer.init(y), y)
    np.testing.assert_allclose(updates, -0.5 * np.linalg.solve(flow.metric(y).as_matrix(), gradient), rtol=1e-14)


def test_heun_takes_no_notice_of_the_gradient():
    flow, y = FLOWS["arm"]
    optimizer = discretize(flow, 0.5, "heun")
    one, other = (optimizer.update(jnp.full(2, g), optimizer.init(y), y)[0] for g in (0.0, 7.0))
    np.testing.assert_array_equal(one, other)


def test_the_identity_metric_is_plain_gradient_descent():
    flow = fm.GradientFlow(rosenbrock, fm.DenseMetric(lambda y, args: jnp.eye(2)))
    y = jnp.array([-1.2, 1.0])
    gradient = jax.grad(rosenbrock)(y, None)
    plain, ours = optax.sgd(0.01), discretize(flow, 0.01)
    expected, _ = plain.update(gradient, plain.init(y), y)
    np.testing.assert_allclose(ours.update(gradient, ours.init(y), y)[0], expected, rtol=1e-14)


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_a_moving_metric_is_that_of_the_time(method):
    flow = fm.GradientFlow(lambda y, args: jnp.sum(y**2) / 2, fm.MovingMetric(lambda t, y, args: (1 + t) * jnp.eye(1)))
    h, y = 0.25, 1.0
    for n in range(4):
        slope = -y / (1 + n * h)
        there = -(y + h * slope) / (1 + (n + 1) * h)
        y += h * (slope if method == "euler" else (slope + there) / 2)
    end, *_ = descend(flow, h, jnp.ones(1), 4, method)
    np.testing.assert_allclose(end, [y], rtol=1e-14)


def test_args_reach_potential_and_metric():
    def metric(y, args):
        return args[1] * jnp.eye(2)

    flow = fm.GradientFlow(lambda y, args: args[0] * jnp.sum(y**2) / 2, fm.DenseMetric(metric))
    for method in ("euler", "heun"):
        end, *_ = descend(flow, 0.1, jnp.ones(2), 1, method, (jnp.array(3.0), jnp.array(6.0)))
        expected = 1 - 0.05 + (0.05**2 / 2 if method == "heun" else 0)
        np.testing.assert_allclose(end, expected, rtol=1e-14)


# --- under optax, JAX and Equinox ---


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_the_step_size_may_be_traced_and_differentiated(method):
    flow, y = FLOWS["arm"]
    step = jax.jit(lambda h: descend(flow, h, y, 2, method)[0])
    np.testing.assert_allclose(step(jnp.array(0.1)), descend(flow, 0.1, y, 2, method)[0], rtol=1e-13)
    slope = jax.grad(lambda h: step(h)[0])(jnp.array(0.1))
    numeric = (step(jnp.array(0.1 + 1e-6))[0] - step(jnp.array(0.1 - 1e-6))[0]) / 2e-6
    np.testing.assert_allclose(slope, numeric, rtol=1e-7)


def test_in_a_chain():
    flow, y = FLOWS["generic"]
    gradient = 100 * jax.grad(flow.potential)(y, None)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), discretize(flow, 0.1), optax.add_decayed_weights(0.5))
    updates, _ = optimizer.update(gradient, optimizer.init(y), y, value=jnp.array(1.0))
    unit = gradient / jnp.linalg.norm(gradient)
    np.testing.assert_allclose(updates, -0.1 * flow.metric.sharp(y, unit) + 0.5 * y, rtol=1e-13)


def test_a_schedule_in_a_chain_in_a_scan():
    """Clipped gradients, a moving metric, steps that shrink, weight decay: against a loop in NumPy."""
    flow = fm.GradientFlow(
        lambda y, args: jnp.sum(jnp.cosh(y)), fm.MovingMetric(lambda t, y, args: (1 + t) * jnp.diag(1 + y**2))
    )
    schedule = optax.exponential_decay(0.3, 4, 0.5)
    chain = optax.chain(optax.clip(1.5), discretize(flow, schedule), optax.add_decayed_weights(-0.01))

    def step(carry, _):
        y, state = carry
        updates, state = chain.update(jnp.sinh(y), state, y)
        return (optax.apply_updates(y, updates), state), y

    start = np.array([1.5, -0.4])
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules add integers to floats
        (end, state), _ = jax.jit(lambda y: jax.lax.scan(step, (y, chain.init(y)), length=9))(jnp.array(start))
    y, t = start, 0.0
    for n in range(9):
        h = 0.3 * 0.5 ** (n / 4)
        y = y - h * np.clip(np.sinh(y), -1.5, 1.5) / ((1 + t) * (1 + y**2)) - 0.01 * y
        t += h
    np.testing.assert_allclose(end, y, rtol=1e-6)  # optax's schedule is in single precision
    assert float(state[1].t) == pytest.approx(t, rel=1e-6)
    assert int(state[1].count) == 9


@pytest.mark.parametrize("method", ["heun", "nesterov"])
def test_a_batch_or_a_loss_of_the_caller_takes_the_place_of_the_potential(method):
    """As later elements of a chain get them: `args=` for potential and metric, `value_fn=` as line searches have it."""
    flow = fm.GradientFlow(
        lambda y, args: args * jnp.sum(y**2) / 2, fm.DenseMetric(lambda y, args: args**2 * jnp.eye(2))
    )
    momentum = 0.5 if method == "nesterov" else None
    optimizer = optax.chain(optax.identity(), discretize(flow, 0.1, method, 2.0, momentum))
    y = jnp.ones(2)

    def step(rate):
        return -0.1 * rate + (0.005 * rate**2 if method == "heun" else 0)

    extras = ({}, {"args": None}, {"args": 4.0}, {"value_fn": lambda y: 3 * jnp.sum(y**2), "value": jnp.ones(())})
    for extra, rate in zip(extras, (1 / 2, 1 / 2, 1 / 4, 6 / 4), strict=True):
        updates, _ = optimizer.update(y, optimizer.init(y), y, **extra)
        np.testing.assert_allclose(updates, step(rate), rtol=1e-13)


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_single_precision_stays(method):
    flow = fm.GradientFlow(lambda y, args: jnp.sum(y["a"] ** 2), fm.DenseMetric(lambda y, args: 2 * jnp.eye(3)))
    end, updates, _ = descend(flow, 0.25, {"a": jnp.ones(3, jnp.float32)}, 2, method)
    assert updates["a"].dtype == end["a"].dtype == jnp.float32


def mlp(key):
    net = eqx.nn.MLP(2, 1, 3, 1, key=key)
    x = jnp.linspace(-1.0, 1.0, 10).reshape(5, 2)
    flow = fm.GradientFlow(lambda net, args: jnp.mean((jax.vmap(net)(x)[:, 0] - x[:, 0] * x[:, 1]) ** 2))
    return net, flow


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_an_equinox_module_with_function_leaves(key, method):
    net, flow = mlp(key)
    assert any(callable(leaf) for leaf in jax.tree.leaves(net))
    end, updates, _ = descend(flow, 0.1, net, 3, method)
    assert all(eqx.is_inexact_array(leaf) for leaf in jax.tree.leaves(updates))
    assert flow.potential(end, None) < flow.potential(net, None)
    assert end.activation is net.activation


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_the_other_leaves_of_a_module_may_come_beside_it(key, method):
    net, flow = mlp(key)
    params, static = eqx.partition(net, eqx.is_inexact_array)
    gradient = eqx.filter_grad(lambda net: flow.potential(net, None))(net)
    alone, chained = discretize(flow, 0.1, method), optax.chain(optax.identity(), discretize(flow, 0.1, method))
    expected, _ = alone.update(gradient, alone.init(net), net)
    updates, _ = chained.update(gradient, chained.init(params), params, static=static)
    jax.tree.map(np.testing.assert_array_equal, updates, expected)


def test_it_knows_where_it_comes_from():
    flow, _ = FLOWS["arm"]
    optimizer = discretize(flow, 0.1, "heavy_ball", args=3, momentum=0.9)
    assert isinstance(optimizer, optax.GradientTransformationExtraArgs)
    known = (optimizer.flow, optimizer.step_size, optimizer.method, optimizer.args, optimizer.momentum)
    assert known == (flow, 0.1, "heavy_ball", 3, 0.9)


# --- wrong input ---


@pytest.mark.parametrize("step_size", [0.0, -0.1, np.nan, np.inf, "0.1", None, True, np.ones(2), 1j])
def test_a_step_size_is_a_positive_number(step_size):
    with pytest.raises(ValueError, match=r"`step_size` must be a positive, finite number, .* or a schedule, got "):
        discretize(FLOWS["arm"][0], step_size)


def test_a_schedule_gives_numbers():
    optimizer = discretize(FLOWS["arm"][0], lambda count: jnp.ones(2))
    with pytest.raises(ValueError, match=r"`step_size` must be a schedule of scalars, got an array of shape \(2,\)"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), jnp.ones(2))


def test_an_unknown_method_lists_the_known_ones():
    known = "'euler', 'heun', 'rk4', 'implicit_euler', 'minimizing_movement', 'geodesic', 'retraction', 'mirror', "
    with pytest.raises(ValueError, match=f"`method` must be one of {known}'heavy_ball', 'nesterov', got 'adam'"):
        discretize(FLOWS["arm"][0], 0.1, "adam")


@pytest.mark.parametrize("flow", [fm.bio.toggle_switch(), fm.VectorField(lambda t, y, args: -y)])
def test_only_gradient_flows_are_optimizers(flow):
    with pytest.raises(ValueError, match=r"`flow` must be a gradient flow, got \w+: .* `fm.GradientFlow\(potential"):
        discretize(flow, 0.1)
    with pytest.raises(ValueError, match="`flow` must be a flow, got function"):
        discretize(rosenbrock, 0.1)


def test_parameters_are_needed_and_are_floats():
    optimizer = discretize(FLOWS["arm"][0], 0.1)
    state = optimizer.init(jnp.ones(2))
    with pytest.raises(ValueError, match="`params` must be given, because the metric depends on them"):
        optimizer.update(jnp.ones(2), state)
    with pytest.raises(ValueError, match=r"`params` must hold float arrays, got int64: write 1.0 for 1"):
        optimizer.update(jnp.ones(2), state, jnp.array([1, 2]))


def test_gradients_are_like_the_parameters():
    flow, y = FLOWS["arm"]
    for method, momentum in (("euler", None), ("geodesic", None), ("retraction", None), ("heavy_ball", 0.9)):
        optimizer = discretize(flow, 0.1, method, momentum=momentum)
        with pytest.raises(ValueError, match=r"`updates` must be gradients like the parameters, of shapes \[\(2,\)\]"):
            optimizer.update(jnp.ones(3), optimizer.init(y), y)
    optimizer = discretize(flow, 0.1)
    with pytest.raises(ValueError, match="`updates` must be gradients like the parameters, in the tree"):
        optimizer.update({"y": y}, optimizer.init(y), y)


def test_a_schedule_that_is_not_positive_gives_nan_and_a_short_float_is_a_number():
    flow, y = FLOWS["arm"]
    optimizer = discretize(flow, lambda count: jnp.asarray(-0.1))
    assert np.isnan(optimizer.update(y, optimizer.init(y), y)[0]).all()
    assert discretize(flow, jnp.asarray(0.5, jnp.bfloat16)).step_size == 0.5
