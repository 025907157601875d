"""The limit of an optimizer: its iterates approach the flow with the step, and what has no known limit is named."""

import contextlib
import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.integrate import solve_ivp

import flowmod as fm
from flowmod.discrete.optimizer_limit.check import check_part, check_whole
from flowmod.discrete.optimizer_limit.groups import routes_of
from flowmod.discrete.optimizer_limit.nodes import Element
from flowmod.discrete.optimizer_limit.parts import Average
from flowmod.discrete.optimizer_limit.recognise import recognise

Y0 = {"a": np.array([1.1, -0.7]), "b": np.array([0.9])}
LABELS = {"a": "first", "b": "second"}
END = 0.8
STEPS = np.array([128, 256, 512])
TAU, TAU2 = 0.4, 0.3


def bowl(y, args):
    """Its gradient is far from zero up to `END`."""
    a, b = y["a"], y["b"]
    return jnp.sum(jnp.cosh(a)) + jnp.sum(b**2) + 0.3 * jnp.sum(a) * jnp.sum(b)


def gradient(a, b):
    """That of the bowl, by hand."""
    return np.sinh(a) + 0.3 * b, 2 * b + 0.3 * a.sum()


def slow(h):
    """A learning rate that falls smoothly from `1.5 h` in the time that it makes itself."""
    return lambda n: h / (2 / 3 + 0.5 * h * n)


def warm(h):
    return lambda n: h * (1 + jnp.sin(3 * h * n))


@dataclasses.dataclass(frozen=True)
class Family:
    """Optimizers by their step size, and what is asked of their limit."""

    make: object
    memory: bool = False
    grouped: bool = False
    updates: bool = False

    def limit(self, h):
        like = Y0 if self.grouped else None
        return fm.flow_of(
            self.make(h), bowl, like, memory=self.memory, updates=int(2 * END / h) if self.updates else None
        )


def beta(h, tau=TAU):
    return 1 - h / tau


def groups(first, second):
    return optax.partition({"first": first, "second": second}, LABELS)


FAMILIES = {
    "sgd": Family(optax.sgd),
    "heavy ball": Family(lambda h: optax.sgd(h, 0.5)),
    "nesterov": Family(lambda h: optax.sgd(h, 0.5, nesterov=True)),
    "ema": Family(lambda h: optax.chain(optax.ema(0.5), optax.scale(-h))),
    "rmsprop": Family(lambda h: optax.rmsprop(h, decay=0.5, eps=0.1)),
    "adam": Family(lambda h: optax.adam(h, 0.5, 0.6, eps=0.1, eps_root=0.01)),
    "adamw": Family(lambda h: optax.adamw(h, 0.6, 0.5, eps=0.1, weight_decay=0.4)),
    "scheduled adam": Family(lambda h: optax.adam(slow(h), 0.5, 0.6, eps=0.1)),
    "groups": Family(lambda h: groups(optax.adam(h, 0.5, 0.6, eps=0.1), optax.sgd(2 * h, 0.5)), grouped=True),
    "scheduled groups": Family(
        lambda h: groups(optax.sgd(slow(h)), optax.rmsprop(warm(h), 0.5, eps=0.1)), grouped=True, updates=True
    ),
    "masked decay": Family(
        lambda h: optax.chain(
            optax.masked(optax.add_decayed_weights(0.7), {"a": True, "b": False}), optax.adam(h, 0.5, 0.6, eps=0.1)
        ),
        grouped=True,
    ),
    "lasting heavy ball": Family(lambda h: optax.sgd(h * h / TAU, beta(h)), memory=True),
    "lasting nesterov": Family(lambda h: optax.sgd(h * h / TAU, beta(h), nesterov=True), memory=True),
    "lasting ema": Family(lambda h: optax.chain(optax.ema(beta(h)), optax.scale(-h)), memory=True),
    "lasting rmsprop": Family(lambda h: optax.rmsprop(h, beta(h), eps=0.3), memory=True),
    "lasting adam": Family(lambda h: optax.adam(h, beta(h), beta(h, TAU2), eps=0.1), memory=True),
    "lasting adamw": Family(lambda h: optax.adamw(h, beta(h), beta(h, TAU2), eps=0.1, weight_decay=0.4), memory=True),
    "lasting scheduled groups": Family(
        lambda h: groups(
            optax.adam(slow(h), beta(h), beta(h, TAU2), eps=0.1),
            optax.chain(optax.scale_by_learning_rate(warm(h)), optax.trace(beta(h)), optax.scale(h / TAU)),
        ),
        memory=True,
        grouped=True,
        updates=True,
    ),
}


def iterates(make):
    """The real optimizer's iterates `(steps, numbers of updates, leaf)`, all step sizes in one program."""

    def run(h):
        optimizer = make(h)

        def step(carry, _):
            y, state = carry
            updates, state = optimizer.update(jax.grad(bowl)(y, None), state, y)
            y = optax.apply_updates(y, updates)
            return (y, state), y

        start = jax.tree.map(jnp.asarray, Y0)
        return jax.lax.scan(step, (start, optimizer.init(start)), length=int(STEPS[-1]))[1]

    with jax.numpy_dtype_promotion("standard"):
        return jax.tree.map(np.asarray, jax.jit(jax.vmap(run))(END / STEPS))


def reference(limit, times):
    """The states of the flow at times, by SciPy: a dict of `(times, leaf)`."""
    start = limit.start(Y0)
    flat, unravel = jax.flatten_util.ravel_pytree(start)
    field = jax.jit(lambda t, x: jax.flatten_util.ravel_pytree(limit.vector_field(t, unravel(x)))[0])
    run = solve_ivp(field, (0.0, times.max()), flat, "DOP853", dense_output=True, rtol=1e-9, atol=1e-11, max_step=0.05)
    states = [limit.position(unravel(run.sol(t))) for t in times]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *states)


def slopes(distances):
    """The exponent of the distance in the step size, for each leaf."""
    return {leaf: -np.polyfit(np.log(STEPS), np.log(along), 1)[0] for leaf, along in distances.items()}


def distances(name, limit):
    """The distance of the real iterates from a flow at the same times, for each leaf (steps,)."""
    found = real_iterates(name)
    times = np.array([np.sum(slow(END / n)(np.arange(n))) if "scheduled" in name else END for n in STEPS])
    flow = reference(limit, times)
    rows = np.arange(len(STEPS))
    return {leaf: np.linalg.norm(found[leaf][rows, STEPS - 1] - flow[leaf], axis=-1) for leaf in Y0}


@functools.cache
def real_iterates(name):
    return iterates(FAMILIES[name].make)


# --- the limit ---


@pytest.mark.parametrize("name", FAMILIES)
def test_the_distance_from_the_flow_falls_with_the_step(name):
    # Tables of numbers that change are those of a much smaller step: the limit itself.
    apart = distances(name, FAMILIES[name].limit(END / STEPS[-1] / 32))
    for leaf, slope in slopes(apart).items():
        assert abs(slope - 1) < 0.1, (leaf, slope, apart)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("heavy ball", "sgd"),  # without 1 / (1 - beta)
        ("adam", "rmsprop"),  # eps outside of the root
        ("adamw", "adam"),  # without the decay
        ("lasting heavy ball", "lasting adamw"),
    ],
)
def test_from_another_flow_it_does_not_fall(name, wrong):
    apart = distances(name, FAMILIES[wrong].limit(END / STEPS[-1]))
    assert all(abs(slope) < 0.2 for slope in slopes(apart).values()), apart


# --- clocks ---


@pytest.mark.parametrize(
    ("optimizer", "how", "per_update"),
    [
        (optax.sgd(0.2), {}, 0.2),
        (optax.adamw(1e-3), {}, 1e-3),
        (optax.sgd(0.2, 0.9), {}, 0.2),
        (optax.sgd(0.2, 0.9), {"memory": True}, 2.0),
        (optax.adam(0.2, b1=0.9), {"memory": True}, 0.2),
        (optax.chain(optax.scale(-3.0), optax.scale_by_adam(), optax.scale(0.1)), {}, 0.1),
        (optax.chain(optax.scale(-3.0), optax.identity(), optax.scale(0.1)), {}, 0.3),
        (optax.sgd(0.2), {"clock": 1.0}, 1.0),
    ],
)
def test_an_update_takes_its_learning_rate(optimizer, how, per_update):
    limit = fm.flow_of(optimizer, bowl, **how)
    np.testing.assert_allclose(limit.time([[0, 1], [5, 1000]]), per_update * np.array([[0, 1], [5, 1000]]), rtol=1e-14)


def test_with_a_schedule_time_is_the_sum_of_the_rates():
    schedule = lambda n: 0.1 * n / (3 + 0.1 * n * n)  # noqa: E731
    limit = fm.flow_of(optax.adam(schedule), bowl)
    by_hand = np.cumsum([0.0] + [float(schedule(n)) for n in range(40)])
    # The optimizer's own count is an int32, with which a schedule is a float32.
    np.testing.assert_allclose(limit.time(np.arange(41)), by_hand, rtol=1e-6)
    assert limit.time(7).shape == ()


def test_a_late_start_is_a_start_and_of_no_updates_there_are_no_times():
    late = fm.flow_of(optax.sgd(lambda n: jnp.where(n < 2000, 0.0, 0.1)), bowl)
    np.testing.assert_allclose(late.time([2000, 2001]), [0.0, 0.1], rtol=1e-6)
    assert late.time([]).shape == fm.flow_of(optax.sgd(0.1), bowl).time([]).shape == (0,)


def test_another_clock_changes_the_speed_only():
    limits = [fm.flow_of(optax.sgd(0.2), bowl, clock=clock) for clock in (None, 1.0)]
    field = [np.concatenate(jax.tree.leaves(limit.vector_field(0.0, Y0))) for limit in limits]
    np.testing.assert_allclose(field[1], 0.2 * field[0], rtol=1e-14)


def test_beyond_the_table_nothing_is_known():
    ends = lambda n: 0.1 - 0.005 * n  # noqa: E731 - at zero after the last update
    optimizer = groups(optax.adamw(ends, eps=0.1, weight_decay=0.1), optax.adamw(0.1, eps=0.1, weight_decay=0.1))
    limit = fm.flow_of(optimizer, bowl, Y0, updates=20)
    end = limit.time(20)
    assert np.isfinite(limit.vector_field(end, Y0)["b"]).all()
    assert np.isnan(limit.vector_field(1.01 * end, Y0)["b"]).all()


# --- what the flow is ---


def test_gradient_flows_are_gradient_flows():
    plain = fm.flow_of(optax.sgd(0.3), bowl)
    assert isinstance(plain.flow, fm.GradientFlow)
    assert isinstance(plain.metric, fm.Euclidean)
    assert plain.potential is bowl
    scaled = fm.flow_of(optax.sgd(0.3, 0.75), bowl)
    assert isinstance(scaled.flow, fm.GradientFlow)
    np.testing.assert_allclose(scaled.metric(Y0).as_matrix(), np.eye(3) / 4, rtol=1e-14)
    adam = fm.flow_of(optax.adam(0.3, eps=0.1, eps_root=0.5), bowl)
    assert isinstance(adam.flow, fm.GradientFlow)
    assert isinstance(adam.metric, fm.DiagonalMetric)
    g = np.concatenate(gradient(Y0["a"], Y0["b"]))
    np.testing.assert_allclose(adam.metric(Y0).as_matrix().diagonal(), np.sqrt(g**2 + 0.5) + 0.1, rtol=1e-12)
    assert fm.check_metric(adam.metric, Y0).ok


def test_decay_before_all_else_is_part_of_the_potential():
    decay = optax.add_decayed_weights(0.5)
    coupled = fm.flow_of(optax.chain(decay, optax.adam(0.1, eps=0.1)), bowl)
    assert isinstance(coupled.flow, fm.GradientFlow)
    wanted = bowl(Y0, None) + 0.25 * sum(np.sum(leaf**2) for leaf in Y0.values())
    np.testing.assert_allclose(coupled.potential(Y0, None), wanted, rtol=1e-14)
    g = gradient(Y0["a"], Y0["b"])[0] + 0.5 * Y0["a"]
    np.testing.assert_allclose(coupled.vector_field(0.0, Y0)["a"], -g / (np.abs(g) + 0.1), rtol=1e-12)
    # Of gradient descent the decay is the potential's wherever it stands; a heavy ball does not amplify a later one.
    late = fm.flow_of(optax.chain(optax.trace(0.75), decay, optax.scale(-0.1)), bowl)
    assert isinstance(late.flow, fm.GradientFlow)
    g = gradient(Y0["a"], Y0["b"])[0]
    np.testing.assert_allclose(late.vector_field(0.0, Y0)["a"], -4 * g - 0.5 * Y0["a"], rtol=1e-12)


def test_decoupled_decay_is_no_gradient_flow_in_adams_metric():
    limit = fm.flow_of(optax.adamw(0.1, eps=0.1, weight_decay=0.5), bowl)
    assert isinstance(limit.flow, fm.VectorField)
    assert limit.potential is bowl
    g = gradient(Y0["a"], Y0["b"])[0]
    np.testing.assert_allclose(limit.vector_field(0.0, Y0)["a"], -g / (np.abs(g) + 0.1) - 0.5 * Y0["a"], rtol=1e-12)
    np.testing.assert_allclose(limit.metric.diagonal(Y0)["a"], np.abs(g) + 0.1, rtol=1e-12)


def test_momentum_that_lasts_has_a_mass():
    h, b = 0.01, 0.96
    for optimizer, tau, friction in (
        (optax.sgd(h, b), h / (1 - b) ** 2, 1.0),
        (optax.sgd(h, b, nesterov=True), h / (1 - b) ** 2, 1.0),
        (optax.chain(optax.ema(b, debias=False), optax.scale(-h)), h / (1 - b), 1.0),
    ):
        limit = fm.flow_of(optimizer, bowl, memory=True)
        assert isinstance(limit.flow, fm.InertialFlow)
        np.testing.assert_allclose(limit.metric.diagonal(Y0)["a"], tau, rtol=1e-12)
        np.testing.assert_allclose(limit.flow.damping.diagonal(Y0)["b"], friction, rtol=1e-12)
        place, velocity = limit.start(Y0)
        assert place is Y0
        assert not any(leaf.any() for leaf in jax.tree.leaves(velocity))


def test_adam_with_lasting_averages_by_hand():
    h, t = 0.01, 0.37
    limit = fm.flow_of(optax.adamw(h, 1 - h / TAU, 1 - h / TAU2, eps=0.1, weight_decay=0.5), bowl, memory=True)
    (place, averages), b = limit.start(Y0), Y0["b"]
    np.testing.assert_allclose(  # at the start the averages are the gradient and its square
        limit.vector_field(0.0, (place, averages))[0]["b"],
        -gradient(Y0["a"], b)[1] / (np.abs(gradient(Y0["a"], b)[1]) + 0.1) - 0.5 * b,
        rtol=1e-12,
    )
    mean, square = np.array([0.3]), np.array([0.2])
    averages = (averages[0], ((mean, square), *averages[1][1:]))
    velocity, moved = limit.vector_field(t, (place, averages))
    root = np.sqrt(square / (1 - np.exp(-t / TAU2))) + 0.1
    np.testing.assert_allclose(velocity["b"], -mean / (1 - np.exp(-t / TAU)) / root - 0.5 * b, rtol=1e-12)
    g = gradient(Y0["a"], b)[1]
    np.testing.assert_allclose(moved[1][0][0], (g - mean) / TAU, rtol=1e-12)
    np.testing.assert_allclose(moved[1][0][1], (g**2 - square) / TAU2, rtol=1e-12)


def test_leaves_that_are_frozen_stand_still():
    limit = fm.flow_of(groups(optax.set_to_zero(), optax.sgd(0.1)), bowl, Y0)
    velocity = limit.vector_field(0.0, Y0)
    assert isinstance(limit.flow, fm.VectorField)
    assert not velocity["a"].any()
    np.testing.assert_allclose(velocity["b"], -gradient(Y0["a"], Y0["b"])[1], rtol=1e-14)
    assert limit.time(3) == pytest.approx(0.3)
    # What decays after that only decays.
    decays = optax.chain(optax.set_to_zero(), optax.add_decayed_weights(0.5), optax.scale(-0.1))
    limit = fm.flow_of(groups(decays, optax.sgd(0.1)), bowl, Y0)
    np.testing.assert_allclose(limit.vector_field(0.0, Y0)["a"], -0.5 * Y0["a"], rtol=1e-14)


def test_groups_with_rates_of_their_own_run_on_the_clock_of_the_first():
    schedule = lambda n: 0.1 / (1 + 0.01 * n * n)  # noqa: E731
    optimizer = groups(optax.sgd(schedule), optax.chain(optax.trace(0.5), optax.scale_by_learning_rate(schedule)))
    limit = fm.flow_of(optimizer, bowl, Y0)  # one schedule for both: no table
    g = gradient(Y0["a"], Y0["b"])
    velocity = limit.vector_field(0.0, Y0)
    np.testing.assert_allclose(velocity["a"], -g[0], rtol=1e-12)
    np.testing.assert_allclose(velocity["b"], -2 * g[1], rtol=1e-12)
    limit = fm.flow_of(groups(optax.sgd(schedule), optax.sgd(0.1)), bowl, Y0, updates=20)
    velocity = limit.vector_field(limit.time(10), Y0)
    np.testing.assert_allclose(velocity["b"], -2 * g[1], rtol=1e-6)


def test_masks_see_the_parameters_as_optax_shows_them():
    state = {"w": np.ones((2, 3)), "b": np.ones(3), "c": {"w": np.ones((3, 1)), "b": np.ones(1)}}

    def potential(y, args):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(y)) / 2

    matrices = lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)  # noqa: E731
    names = lambda params: jax.tree.map_with_path(lambda path, _: path[-1].key, params)  # noqa: E731
    decayed = optax.chain(optax.add_decayed_weights(1.0, mask=matrices), optax.sgd(0.1))
    nested = optax.partition({"w": decayed, "b": optax.sgd(0.2)}, names)
    velocity = fm.flow_of(nested, potential, state, clock=0.1).vector_field(0.0, state)
    np.testing.assert_allclose(velocity["c"]["w"], -2.0)
    np.testing.assert_allclose(velocity["c"]["b"], -2.0)
    np.testing.assert_allclose(velocity["w"], -2.0)
    by_prefix = optax.partition({"x": optax.sgd(0.1), "y": optax.sgd(0.3)}, {"w": "x", "b": "x", "c": "y"})
    rates = [route[-1].part.rate.number for route in routes_of(recognise(by_prefix), state).routes]
    assert rates == [-0.1, -0.3, -0.3, -0.1]  # b, c.b, c.w, w


# --- states, and what takes a flow ---


class Network(eqx.Module):
    weight: jax.Array
    bias: jax.Array
    activation: object

    def __call__(self, x):
        return self.activation(self.weight @ x + self.bias)


def test_a_module_in_single_precision_runs():
    net = Network(jnp.array([[0.5, -1.0]], jnp.float32), jnp.array([0.3], jnp.float32), jnp.tanh)

    def loss(net, args):
        return jnp.sum(net(args) ** 2) + jnp.sum(net.weight**2)

    x = jnp.array([1.0, 0.5], jnp.float32)
    labels = lambda params: jax.tree.map(lambda leaf: "w" if leaf.ndim > 1 else "b", params)  # noqa: E731
    optimizer = optax.partition({"w": optax.adam(0.01, eps=0.1), "b": optax.sgd(0.02, 0.5)}, labels)
    limit = fm.flow_of(optimizer, loss, net)
    trajectory = fm.simulate(limit, net, t1=limit.time(20), args=x)
    assert trajectory.ys.weight.dtype == np.float32
    assert trajectory.ys.activation is jnp.tanh
    np.testing.assert_allclose(trajectory.ledger, 0.0, atol=1e-4)
    g = jax.grad(lambda weight: loss(eqx.tree_at(lambda n: n.weight, net, weight), x))(net.weight)
    velocity = limit.vector_field(0.0, net, x)
    assert velocity.weight.dtype == np.float32
    np.testing.assert_allclose(velocity.weight, -g / (np.abs(g) + np.float32(0.1)), rtol=1e-5)


def test_adams_limit_has_a_derivative_where_a_gradient_is_zero():
    limit = fm.flow_of(optax.adam(1e-2, eps=1e-3), lambda y, args: jnp.sum(y**2 * jnp.array([1.0, 4.0])) / 2)
    jacobian = jax.jit(jax.jacfwd(lambda y: limit.vector_field(0.0, y)))
    for y, expected in (([1.0, 0.0], [-1e-3 / 1.001**2, -4e3]), ([0.0, 0.0], [-1e3, -4e3])):
        np.testing.assert_allclose(jacobian(jnp.array(y)), np.diag(expected), rtol=1e-12)
    # What is not a number stays so.
    assert np.isnan(jax.jit(lambda y: limit.vector_field(0.0, y))(jnp.array([np.nan, 1.0]))[0])


def test_a_group_that_stands_still_at_times_is_no_gradient_flow():
    """A weight in the metric would be infinite."""
    for rate in (lambda n: 0.01 * n, lambda n: 0.0 * n):
        limit = fm.flow_of(groups(optax.sgd(0.1), optax.sgd(rate)), bowl, Y0, updates=20)
        assert isinstance(limit.flow, fm.VectorField)
        assert limit.metric is None
        velocity = limit.vector_field(limit.time(10), Y0)
        expected = -gradient(Y0["a"], Y0["b"])[1] * float(rate(10)) / 0.1
        np.testing.assert_allclose(velocity["b"], expected, rtol=1e-6)
        assert np.isfinite(limit.dissipation(0.0, Y0, limit.vector_field(0.0, Y0)))


def test_a_limit_has_a_rate():
    stiffness = jnp.array([1.0, 3.0])
    limit = fm.flow_of(optax.sgd(0.1), lambda y, args: jnp.sum(stiffness * y**2) / 2)
    np.testing.assert_allclose(fm.contraction_rate(limit, np.array([1.0, 2.0])), 1.0, rtol=1e-12)


@pytest.mark.parametrize("method", ["euler", "heavy_ball"])
def test_a_discretised_flow_has_its_own_flow(method):
    flow = fm.GradientFlow(bowl, fm.DiagonalMetric(lambda y, args: jax.tree.map(lambda leaf: 1 + leaf**2, y)))
    momentum = 0.5 if method == "heavy_ball" else None
    for wrap in (lambda made: made, lambda made: optax.chain(optax.identity(), made)):
        limit = fm.flow_of(wrap(fm.discretize(flow, 0.1, method, momentum=momentum)), bowl)
        assert limit.flow is flow
        assert limit.time(10) == pytest.approx(1.0 if momentum is None else 2.0)


class Problem:
    def loss(self, y, args):
        return bowl(y, args)


def test_a_method_of_an_object_is_its_own_potential():
    problem = Problem()
    made = fm.discretize(fm.GradientFlow(problem.loss), 0.1)
    assert fm.flow_of(made, problem.loss).time(1) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="`potential` must be that of the flow"):
        fm.flow_of(made, Problem().loss)


def test_the_flow_works_under_jit_and_is_made_there():
    @jax.jit
    def field(y):
        return fm.flow_of(optax.adam(0.1, eps=0.1), bowl).vector_field(0.0, y)

    wanted = fm.flow_of(optax.adam(0.1, eps=0.1), bowl).vector_field(0.0, Y0)
    np.testing.assert_allclose(field(Y0)["a"], wanted["a"], rtol=1e-12)


# --- what is not known ---


def mine():
    def init(params):
        return ()

    def update(updates, state, params=None):
        return updates, state

    return optax.GradientTransformation(init, update)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (optax.chain(optax.clip(1.0), optax.sgd(0.1)), [r"optax\.clip at `optimizer\[0\]`"]),
        (
            optax.chain(optax.centralize(), optax.chain(optax.scale(2.0), optax.clip_by_global_norm(1.0)), mine()),
            [r"optax\.centralize at `optimizer\[0\]`", r"optax\.clip_by_global_norm at `optimizer\[1\]\[1\]`", "mine"],
        ),
        (optax.named_chain(("cut", optax.clip(1.0)), ("go", optax.sgd(0.1))), [r"optimizer\['cut'\]"]),
        (groups(optax.sgd(0.1), optax.adagrad(0.1)), [r"scale_by_rss at `optimizer\['second'\]\[0\]`"]),
        (optax.masked(optax.lion(0.1), True), [r"scale_by_lion at `optimizer\[0\]`"]),
        (optax.lbfgs(), ["scale_by_lbfgs", "scale_by_zoom_linesearch"]),
        (optax.rmsprop(0.1, centered=True), ["scale_by_stddev"]),
        (optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation(), ["optax.MultiSteps", "the optimizer inside"]),
        (optax.inject_hyperparams(optax.sgd)(learning_rate=0.1), ["optax.inject_hyperparams", "with its numbers"]),
        (optax.apply_if_finite(optax.sgd(0.1), 3), ["optax.apply_if_finite"]),
        (optax.stateless(lambda updates, params: updates), ["optax.stateless"]),
        (optax.GradientTransformation(len, print), ["print", "fm.compare"]),
    ],
)
def test_unknown_elements_are_named_with_their_places(optimizer, words):
    for word in words:
        with pytest.raises(ValueError, match=word):
            fm.flow_of(optimizer, bowl, Y0)


def trace(decay, nesterov=False, wrong=False):
    """What another version of optax might do under the old name."""

    def init_fn(params):
        return jax.tree.map(jnp.zeros_like, params)

    def update_fn(updates, state, params=None):
        own = (1 - decay) if wrong else 1.0
        state = jax.tree.map(lambda g, m: own * g + decay * m, updates, state)
        return (updates if nesterov else state), state

    update_fn.__module__ = "optax.transforms"
    return optax.GradientTransformation(init_fn, update_fn)


def ema(beta):
    def update_fn(updates, state, params=None):
        return jax.tree.map(lambda g: beta * g, updates), state

    update_fn.__module__ = "optax.transforms"
    return optax.GradientTransformation(lambda params: (), update_fn)


def test_what_only_has_the_name_is_not_believed():
    assert fm.flow_of(optax.chain(trace(0.5), optax.scale(-0.1)), bowl).time(1) == pytest.approx(0.1)
    with pytest.raises(ValueError, match=r"`optimizer\[0\]` \(optax.trace\) does not do what its name .* optax 0"):
        fm.flow_of(optax.chain(trace(0.5, wrong=True), optax.scale(-0.1)), bowl)
    with pytest.raises(
        ValueError, match=r"`optimizer\[1\]` \(optax.ema\) can't be read: .* does not keep '(decay|debias)'"
    ):
        fm.flow_of(optax.chain(optax.scale(-0.1), ema(0.5)), bowl)


def test_low_precision_is_neither_refused_nor_an_excuse():
    with jax.enable_x64(False):
        for optimizer in (
            optax.adam(0.1, b2=0.99999),
            optax.rmsprop(0.1, decay=0.99999, bias_correction=True),
            optax.chain(optax.ema(0.99999), optax.scale(-0.1)),
        ):
            assert fm.flow_of(optimizer, bowl).time(1) == pytest.approx(0.1)
        with pytest.raises(ValueError, match="does not do what its name"):
            fm.flow_of(optax.chain(trace(0.5, wrong=True), optax.scale(-0.1)), bowl)
    for wrong in (False, True):
        element = Element((), "optax.trace", Average(0.5, 1.0 if wrong else 2.0), jnp.bfloat16)
        with pytest.raises(ValueError, match="does not do") if wrong else contextlib.nullcontext():
            check_part(element, optax.trace(0.5, accumulator_dtype=jnp.bfloat16))


def test_masks_may_look_at_dtypes_and_not_at_values():
    state = {"a": np.ones(2, np.float32), "b": np.full(1, 3.0)}

    def limit(mask):
        decay = optax.add_decayed_weights(1.0, lambda params: jax.tree.map(mask, params))
        return fm.flow_of(optax.chain(decay, optax.sgd(0.1)), lambda y, args: jnp.sum(y["b"]), state)

    velocity = limit(lambda leaf: leaf.dtype == np.float32).vector_field(0.0, state)
    np.testing.assert_allclose(velocity["a"], -1.0)
    np.testing.assert_allclose(velocity["b"], -1.0)
    with pytest.raises(ValueError, match=r"`optimizer` has a mask or labels that look at values.*as a tree"):
        limit(lambda leaf: bool((leaf > 2).all()))


def test_groups_that_are_not_what_they_were_read_as_are_found():
    optimizer = groups(optax.sgd(0.1), optax.sgd(0.2))
    routes = routes_of(recognise(optimizer), Y0)
    check_whole(optimizer, routes, Y0)
    with pytest.raises(ValueError, match="the 2 leaves of `like` under `optimizer` does not do what"):
        check_whole(optimizer, routes._replace(routes=routes.routes[::-1]), Y0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fm.flow_of(0.1, bowl), "must be an optax transformation.*got float"),
        (lambda: fm.flow_of(optax.sgd, bowl), "must be an optax transformation.*got function"),
        (lambda: fm.flow_of(optax.MultiSteps(optax.sgd(0.1), 2), bowl), r"Call `\.gradient_transformation\(\)`"),
        (lambda: fm.flow_of(optax.sgd(0.1), lambda y: 0.0), "`potential` must be a function of"),
        (lambda: fm.flow_of(optax.sgd(np.nan), bowl), r"`optimizer\[1\]` \(optax.scale\) has the number nan"),
        (lambda: fm.flow_of(optax.sgd(0.1, 1.0), bowl), r"`optimizer\[0\]` \(optax.trace\) has the decay 1.0: it must"),
        (lambda: fm.flow_of(optax.adam(0.1, b2=-0.5), bowl), r"scale_by_adam\) has the decay -0.5"),
        (lambda: fm.flow_of(optax.sgd(0.0), bowl), "no learning rate, or one that is zero"),
        (
            lambda: fm.flow_of(optax.scale_by_adam(), bowl),
            r"climbs the potential: .*scale_by_adam.*optax.scale\(-1.0\)",
        ),
        (
            lambda: fm.flow_of(optax.masked(optax.sgd(0.1), {"a": True, "b": False}), bowl, Y0),
            "climbs.* at 'b'.*passes",
        ),
        (lambda: fm.flow_of(groups(optax.sgd(0.1), optax.sgd(0.2)), bowl), "`like` must be given.*groups"),
        (lambda: fm.flow_of(groups(optax.sgd(0.1), optax.sgd(0.2)), bowl, {"a": Y0["a"]}), "do not fit `like`"),
        (lambda: fm.flow_of(optax.partition({"a": optax.sgd(0.1)}, LABELS), bowl, Y0), "label 'first', 'second'"),
        (lambda: fm.flow_of(optax.sgd(0.1), bowl, {"a": 1}), "`like` must hold float arrays"),
        (lambda: fm.flow_of(optax.sgd(0.1), bowl, clock=0.0), "`clock` must be a positive, finite time"),
        (lambda: fm.flow_of(optax.sgd(0.1), bowl, updates=0), "`updates` must be a positive whole number"),
        (lambda: fm.flow_of(groups(optax.sgd(slow(0.1)), optax.sgd(0.1)), bowl, Y0), "`updates` must be given"),
        (lambda: fm.flow_of(optax.adam(slow(0.1)), bowl, memory=True), "`updates` must be given.*memory of"),
        (lambda: fm.flow_of(optax.sgd(lambda n: 0.1 - 0.02 * n), bowl).time(9), "learning rate -0.02 at update 6"),
        (lambda: fm.flow_of(optax.sgd(0.1), bowl).time(1.5), "`n` must be whole numbers"),
        (lambda: fm.flow_of(optax.sgd(lambda n: 0.1 if n < 9 else 0.01), bowl), "no function of JAX.*`jnp.where`"),
        (lambda: fm.flow_of(optax.sgd(lambda n: jnp.full(1, 0.1)), bowl), r"must return a number, got .*\(1,\)"),
        (lambda: fm.flow_of(optax.sgd(lambda n: jnp.nan * n), bowl), "of finite gradients .nan.*its schedules"),
        (lambda: jax.jit(lambda h: fm.flow_of(optax.sgd(h), bowl).time(1))(0.1), "has a traced number"),
        (lambda: fm.flow_of(optax.adam(0.1), bowl, memory=True).vector_field(0.0, Y0), r"limit\.start\(y0\)"),
        (
            lambda: fm.flow_of(groups(optax.sgd(0.1), optax.sgd(0.2)), bowl, Y0).vector_field(
                0.0, Y0 | {"c": np.ones(1)}
            ),
            "must be a tree like the one that `fm.flow_of` was given",
        ),
        (
            lambda: fm.flow_of(
                groups(optax.sgd(lambda n: jnp.where(n < 3, 0.0, 0.1)), optax.sgd(0.1)), bowl, Y0, updates=9
            ),
            "relative to the clock, is -inf at update 0 .*give a `clock=` that goes on",
        ),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_discretised_flow_stands_alone():
    made = fm.discretize(fm.GradientFlow(bowl), 0.1)
    for optimizer, potential, how, words in (
        (optax.chain(made, optax.scale(0.5)), bowl, {}, r"optax.scale\) beside `optimizer\[0\]` \(fm.discretize\)"),
        (optax.masked(made, True), bowl, {}, "groups of leaves around `optimizer`"),
        (made, lambda y, args: 0.0, {}, "`potential` must be that of the flow"),
        (made, bowl, {"memory": True}, "must be left out with `fm.discretize`"),
    ):
        with pytest.raises(ValueError, match=words):
            fm.flow_of(optimizer, potential, Y0, **how)
