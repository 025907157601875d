"""The layerwise optimizer against dense matrices in NumPy, the flow whose Euler steps it takes, and in optax."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import flowmod as fm
from flowmod.discrete import LevenbergMarquardt, Window, discretize, layerwise
from flowmod.metric import SubsetMetric
from tests.networks import (
    classification,
    columns_by_layer,
    naive_blocks,
    regression,
    samples,
    softmax_factor,
    tanh_network,
)

MASS = 0.05


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


def step(optimizer, problem, net, args=None, gradients="own", state=None):
    """One compiled update."""

    @jax.jit
    def run(net, state, gradients):
        return optimizer.update(gradients, state, net, args=args)

    own = jax.grad(problem)(net, args) if isinstance(gradients, str) else gradients
    return run(net, optimizer.init(net) if state is None else state, own)


def dense_step(net, inputs, gradient, factor, mass=MASS, full=False, weights=None):
    """`M^-1 gradient` with the whole Jacobian and a dense solve, in NumPy."""
    K = naive_blocks(net, inputs, factor)
    normal = K.T @ K
    keep = np.zeros_like(normal)
    for places in columns_by_layer(net):
        keep[np.ix_(places, places)] = 1
    return np.linalg.solve(normal * (1 if full else keep) + mass * np.eye(len(normal)), gradient)


def trained(optimizer, problem, net, batches, gradients=jax.grad):
    """A `lax.scan` over batches; the losses before each update and the last state."""

    def update(carry, batch):
        net, state = carry
        updates, state = optimizer.update(gradients(problem)(net, batch), state, net, args=batch)
        return (optax.apply_updates(net, updates), state), problem(net, batch)

    run = jax.jit(lambda net: jax.lax.scan(update, (net, optimizer.init(net)), batches))
    (net, state), losses = run(net)
    return net, state, losses


@pytest.fixture
def stream():
    """A problem without data, and 12 batches of 16 labelled samples with a pattern to learn."""
    net = tanh_network(5, 6, 3)
    inputs = jax.random.normal(jax.random.key(8), (12, 16, 5))
    labels = jnp.argmax(inputs[..., :3] + inputs[..., 2:], axis=-1)
    return net, fm.Supervised(net, fm.SoftmaxCrossEntropy()), (inputs, labels)


def first(batches):
    return jax.tree.map(lambda leaf: leaf[0], batches)


# --- the step ---


@pytest.mark.parametrize("full", [False, True])
def test_the_step_of_a_batch_equals_a_dense_solve(stream, full):
    net, problem, batches = stream
    batch = first(batches)
    metric = fm.FullMetric.of(problem, mass=MASS) if full else None
    optimizer = layerwise(problem, 0.3, metric, mass=None if full else MASS)
    updates, state = step(optimizer, problem, net, batch)
    gradient = flat(jax.grad(problem)(net, batch))
    wanted = -0.3 * dense_step(net, batch[0], gradient, softmax_factor, full=full)
    np.testing.assert_allclose(flat(updates), wanted, rtol=0, atol=1e-12 * np.abs(wanted).max() / MASS)
    other = -0.3 * dense_step(net, batch[0], gradient, softmax_factor, full=not full)
    assert np.abs(other - wanted).max() > 0.1 * np.abs(wanted).max()
    assert int(state.count) == 1


def test_none_stands_for_the_own_gradient(stream):
    net, problem, batches = stream
    optimizer = layerwise(problem, 0.3, mass=MASS)
    own, _ = step(optimizer, problem, net, first(batches))
    none, _ = step(optimizer, problem, net, first(batches), gradients=None)
    np.testing.assert_allclose(flat(none), flat(own), rtol=0, atol=1e-13)


def test_gradients_that_are_given_are_the_ones_that_are_solved(stream):
    net, problem, batches = stream
    batch = first(batches)
    given = jax.tree.map(lambda leaf: 1 + leaf**2, net)
    updates, _ = step(layerwise(problem, 1.0, mass=MASS), problem, net, batch, given)
    wanted = -dense_step(net, batch[0], flat(given), softmax_factor)
    np.testing.assert_allclose(flat(updates), wanted, rtol=1e-9)


@pytest.mark.parametrize("mass", [1e-3, 1e-5])
def test_in_single_precision_rounding_of_the_given_gradient_does_not_spoil_a_small_mass(mass):
    net, problem = regression(count=7, sizes=(5, 6, 3))
    wanted, _ = step(layerwise(problem, 1.0, mass=mass), problem, net)
    single = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)  # noqa: E731
    net = single(net)
    rounded = jax.tree.map(lambda leaf: leaf * jnp.float32(1 + 1e-7), jax.grad(problem)(net))
    error = lambda updates: np.linalg.norm(flat(updates) - flat(wanted)) / np.linalg.norm(flat(wanted))  # noqa: E731
    updates, _ = step(layerwise(problem, 1.0, mass=mass), problem, net, gradients=rounded)
    assert updates.layers[0].weight.dtype == jnp.float32
    metric = fm.LayerwiseMetric.of(problem, mass=mass, solver="rows")
    general = jax.jit(lambda net: metric.sharp(net, rounded))(net)
    none, _ = step(layerwise(problem, 1.0, mass=mass), problem, net, gradients=None)
    assert max(error(updates), error(none)) < 5e-3
    if mass == 1e-5:
        assert error(updates) < error(jax.tree.map(jnp.negative, general)) / 3


def test_weight_decay_of_the_problem_takes_part_as_a_gradient():
    net, problem = classification(regularizer=fm.WeightDecay(0.1))
    updates, _ = step(layerwise(problem, 1.0, mass=MASS), problem, net)
    gradient = flat(jax.grad(problem)(net))
    np.testing.assert_allclose(flat(updates), -dense_step(net, problem.inputs, gradient, softmax_factor), rtol=1e-9)
    without = flat(jax.grad(classification()[1])(net))
    assert np.abs(gradient - without).max() > 0.01


# --- the flow ---


def test_the_loop_is_that_of_the_discretised_flow_bit_for_bit():
    net, problem = classification()
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=MASS))
    ends = []
    for optimizer in (layerwise(problem, 0.2, mass=MASS), discretize(flow, 0.2)):

        def update(carry, _, optimizer=optimizer):
            net, state = carry
            updates, state = optimizer.update(jax.grad(problem)(net), state, net)
            return (optax.apply_updates(net, updates), state), None

        ends.append(jax.jit(lambda net: jax.lax.scan(update, (net, optimizer.init(net)), length=10))(net)[0][0])  # noqa: B023
    np.testing.assert_array_equal(*map(flat, ends))

    def euler(net, _):
        return jax.tree.map(lambda leaf, v: leaf + 0.2 * v, net, flow.vector_field(0.0, net)), None

    along = jax.jit(lambda net: jax.lax.scan(euler, net, length=10))(net)[0]
    np.testing.assert_allclose(flat(ends[0]), flat(along), rtol=0, atol=1e-14)
    assert np.abs(flat(along) - flat(net)).max() > 0.1


def test_one_update_is_the_flows_velocity_bit_for_bit():
    net, problem = classification()
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=MASS))
    optimizer = layerwise(problem, 0.25, mass=MASS)
    updates = jax.jit(lambda net: optimizer.update(None, optimizer.init(net), net)[0])(net)
    velocity = jax.jit(lambda net: flow.vector_field(0.0, net))(net)
    np.testing.assert_array_equal(flat(updates), 0.25 * flat(velocity))


# --- optax ---


def test_in_a_chain_with_clipping_momentum_and_a_schedule(stream):
    net, problem, batches = stream
    schedule = optax.exponential_decay(0.3, 1, 0.5)
    chain = optax.chain(
        optax.clip_by_global_norm(0.1), layerwise(problem, schedule, mass=MASS), optax.trace(0.9),
        optax.add_decayed_weights(-0.01),
    )  # fmt: skip
    state, velocity = chain.init(net), 0.0
    update = jax.jit(lambda gradient, state, net, batch: chain.update(gradient, state, net, args=batch))
    for n in range(3):
        batch = jax.tree.map(lambda leaf, n=n: leaf[n], batches)
        gradient = jax.grad(problem)(net, batch)
        updates, state = update(gradient, state, net, batch)
        clipped = flat(gradient) * min(1, 0.1 / np.linalg.norm(flat(gradient)))
        velocity = 0.9 * velocity - 0.3 * 0.5**n * dense_step(net, batch[0], clipped, softmax_factor)
        np.testing.assert_allclose(flat(updates), velocity - 0.01 * flat(net), rtol=0, atol=1e-7)  # optax: float32
        net = optax.apply_updates(net, updates)


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ({"mass": MASS}, 0.3),
        ({"mass": MASS, "damping": LevenbergMarquardt()}, 0.5),
        ({"mass": MASS, "window": True}, 0.3),
        ({"metric": "full"}, 0.8),
        ({"metric": "subset"}, 0.3),
    ],
)
def test_training_in_a_scan_learns(stream, settings, rate):
    net, problem, batches = stream
    if "metric" in settings:
        metric = {
            "full": lambda: fm.FullMetric.of(problem, mass=MASS),
            "subset": lambda: SubsetMetric(fm.LayerwiseMetric.of(problem, mass=0.3), samples=8),
        }
        settings = {"metric": metric[settings["metric"]]()}
    if "window" in settings:
        settings = settings | {"window": Window(3, first(batches), decay=0.8)}
    _, state, losses = trained(layerwise(problem, rate, **settings), problem, net, batches)
    assert float(losses[-3:].mean()) < 0.5 * float(losses[:1].mean())
    assert int(state.count) == 12


def test_a_model_with_functions_trains_in_a_chain_by_its_arrays(stream):
    _, _, batches = stream
    net = fm.wrap(eqx.nn.MLP(5, 3, 8, 1, activation=jnp.tanh, key=jax.random.key(0)))
    problem, batch = fm.Supervised(net, fm.SoftmaxCrossEntropy()), first(batches)
    chain = optax.chain(layerwise(problem, 0.3, mass=MASS), optax.trace(0.9))
    with pytest.raises(TypeError):
        chain.init(net)
    params, rest = eqx.partition(net, eqx.is_inexact_array)
    updates, _ = step(chain, problem, params, batch)
    trained = eqx.combine(optax.apply_updates(params, updates), rest)
    assert float(problem(trained, batch)) < float(problem(net, batch))


# --- a mass that adapts ---


def test_the_ratio_and_the_mass_of_each_update_are_those_of_the_rule():
    net, problem = classification(regularizer=fm.WeightDecay(0.1))
    rule = LevenbergMarquardt(start=2.0, factor=1.5)
    optimizer = layerwise(problem, 0.9, mass=MASS, damping=rule)
    state, scale, seen = optimizer.init(net), 2.0, set()
    assert np.isnan(state.damping.ratio)
    update = jax.jit(lambda net, state: optimizer.update(None, state, net))
    for _ in range(8):
        updates, state = update(net, state)
        gradient, K = flat(jax.grad(problem)(net)), naive_blocks(net, problem.inputs, softmax_factor)
        s = -0.9 * dense_step(net, problem.inputs, gradient, softmax_factor, mass=MASS * scale)
        np.testing.assert_allclose(flat(updates), s, rtol=0, atol=1e-10)
        predicted = -gradient @ s - np.sum((K @ s) ** 2) / 2 - 0.1 / 2 * s @ s
        after = optax.apply_updates(net, updates)
        ratio = float(problem(net) - problem(after)) / predicted
        np.testing.assert_allclose(float(state.damping.ratio), ratio, rtol=1e-6)
        change = 1 / 1.5 if ratio > 0.75 else 1.5 if ratio < 0.25 else 1.0
        seen.add(change)
        scale *= change
        np.testing.assert_allclose(float(state.damping.scale), scale, rtol=1e-12)
        net = after
    assert len(seen) > 1  # a rule that always did the same would pass for any


def test_the_mass_grows_where_the_model_is_wrong():
    net, problem = regression()
    for rate in (1.5, 20.0):  # the model foresees a rise: the second ratio is positive, and still no reason for less
        _, state = step(layerwise(problem, rate, mass=MASS, damping=LevenbergMarquardt()), problem, net)
        assert float(state.damping.scale) == 1.5
    assert float(state.damping.ratio) > 0.25


def test_the_mass_adapts_every_so_often_and_within_limits():
    net, problem = classification()
    rule = LevenbergMarquardt(every=3, limits=(0.6, 1.0))
    optimizer = layerwise(problem, 0.3, mass=MASS, damping=rule)
    state, scales = optimizer.init(net), []
    update = jax.jit(lambda net, state: optimizer.update(None, state, net))
    for _ in range(7):
        updates, state = update(net, state)
        net = optax.apply_updates(net, updates)
        scales.append(round(float(state.damping.scale), 3))
    assert scales == [0.667, 0.667, 0.667, 0.6, 0.6, 0.6, 0.6]


# --- a window of batches ---


def test_the_window_is_the_weighted_sum_of_the_last_batches_metrics(stream):
    net, problem, batches = stream
    optimizer = layerwise(problem, 0.3, mass=MASS, window=Window(3, first(batches), decay=0.7))
    update = jax.jit(lambda net, state, batch: optimizer.update(None, state, net, args=batch))
    state, rows = optimizer.init(net), []
    for n in range(5):
        batch = jax.tree.map(lambda leaf, n=n: leaf[n], batches)
        rows.insert(0, naive_blocks(net, batch[0], softmax_factor))
        used = rows[:3]
        weights = 0.7 ** np.arange(len(used))
        normal = sum(w * K.T @ K for w, K in zip(weights / weights.sum(), used, strict=True))
        keep = np.zeros_like(normal)
        for places in columns_by_layer(net):
            keep[np.ix_(places, places)] = 1
        gradient = flat(jax.grad(problem)(net, batch))
        wanted = -0.3 * np.linalg.solve(normal * keep + MASS * np.eye(len(normal)), gradient)
        updates, state = update(net, state, batch)
        np.testing.assert_allclose(flat(updates), wanted, rtol=0, atol=1e-11)
        net = optax.apply_updates(net, updates)
    alone, _ = step(layerwise(problem, 0.3, mass=MASS), problem, net, batch)
    assert np.abs(flat(alone) - wanted).max() > 1e-3


def test_a_window_of_equal_batches_at_equal_parameters_is_none():
    net, problem = classification()
    optimizer = layerwise(problem, 0.3, mass=MASS, window=Window(2))
    _, state = step(optimizer, problem, net)
    second, _ = step(optimizer, problem, net, state=state)
    plain, _ = step(layerwise(problem, 0.3, mass=MASS), problem, net)
    np.testing.assert_allclose(flat(second), flat(plain), rtol=0, atol=1e-12)


# --- wrong input ---


def test_arguments_that_can_not_be():
    net, problem = classification()
    with pytest.raises(ValueError, match=r"`learning_rate` must be a positive, finite number or a schedule, got -0.1"):
        layerwise(problem, -0.1)
    with pytest.raises(ValueError, match=r"`problem` must be a `fm.Supervised`, got Linear: for any other potential"):
        layerwise(net.layers[0], 0.1)
    with pytest.raises(ValueError, match=r"`metric` must be a modular metric .* got Euclidean"):
        layerwise(problem, 0.1, fm.Euclidean())
    with pytest.raises(ValueError, match="`mass` must be left out where a `metric` is given"):
        layerwise(problem, 0.1, fm.FullMetric.of(problem), mass=1.0)
    with pytest.raises(ValueError, match="`mass` must be positive, got 0"):
        layerwise(problem, 0.1, mass=0.0)
    with pytest.raises(ValueError, match=r"`damping` must be `fm.LevenbergMarquardt\(\)`, got 0.1"):
        layerwise(problem, 0.1, damping=0.1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"`window` must be a `fm.Window\(batches, example\)`, got 3"):
        layerwise(problem, 0.1, window=3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"`window` must be left out with a `fm.PerSampleMetric`"):
        layerwise(problem, 0.1, fm.PerSampleMetric.of(problem), window=Window(2))
    streamed = fm.Supervised(net, fm.SoftmaxCrossEntropy())
    for example, kind in ((None, "NoneType"), (jnp.zeros((4, 5)), "Array")):
        with pytest.raises(ValueError, match=rf"`fm.Window\(3, example=batch\)`, with a batch .* got .*{kind}"):
            layerwise(streamed, 0.1, window=Window(3, example))


@pytest.mark.parametrize("batches", [0, 1, 2.5, True])
def test_a_window_has_two_batches_or_more(batches):
    with pytest.raises(ValueError, match="`batches` must be a whole number from 2, got "):
        Window(batches)


@pytest.mark.parametrize("decay", [0.0, 1.1, -1, True])
def test_a_windows_weights_fall(decay):
    with pytest.raises(ValueError, match="`decay` must be a number above 0 and at most 1, got "):
        Window(2, decay=decay)


def traced(optimizer, gradients, state, params=None, args=None):
    return jax.eval_shape(lambda: optimizer.update(gradients, state, params, args=args))


def test_updates_that_can_not_be(stream):
    net, problem, batches = stream
    optimizer, batch = layerwise(problem, 0.1), first(batches)
    state = optimizer.init(net)
    with pytest.raises(ValueError, match=r"`args` must be \(inputs, targets\) where the problem has no data"):
        traced(optimizer, net, state, net)
    with pytest.raises(ValueError, match="`params` must be given, because the metric depends on them"):
        traced(optimizer, net, state)
    other = tanh_network(5, 7, 3)
    with pytest.raises(ValueError, match="`params` must be the parameters of the module"):
        traced(optimizer, other, state, other, args=batch)
    with pytest.raises(ValueError, match="`updates` must be gradients like the parameters"):
        traced(optimizer, other, state, net, args=batch)
    with pytest.raises(ValueError, match=r"`inputs` must have samples along its first axis, got shape \(0, 5\)"):
        traced(optimizer, net, state, net, args=(jnp.zeros((0, 5)), jnp.zeros(0, int)))
    windowed = layerwise(problem, 0.1, window=Window(2, batch))
    with pytest.raises(ValueError, match="`args` must be a batch of as many samples as the window's `example`, 16"):
        traced(windowed, net, windowed.init(net), net, args=samples(4, 5, 3))
    fixed = layerwise(classification()[1], 0.1)
    with pytest.raises(ValueError, match=r"`args` is a batch, .* but the problem has data of its own"):
        traced(fixed, None, state, tanh_network(5, 4, 3), args=batch)


def test_the_state_has_no_functions(stream):
    net, problem, batches = stream
    wrapped = fm.wrap(eqx.nn.Linear(5, 3, key=jax.random.key(0)))
    problem = fm.Supervised(wrapped, fm.SoftmaxCrossEntropy())
    state = layerwise(problem, 0.1, window=Window(2, first(batches))).init(wrapped)
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(state))
    assert net is not wrapped
