"""`MetricController`: steps by the length of their error in the metric, which no linear coordinates change."""

import importlib

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.simulate._lengths import lengths
from tests.networks import columns_by_layer, naive_blocks, regression
from tests.zoo import arm_mass, arm_potential, bowl, exponential_mass

TOLERANCES = {"rtol": 1e-6, "atol": 1e-9}
START = jnp.asarray([0.9, -1.1, 0.6])
COORDINATES = np.asarray([[2.0, 0.5, 0.0], [0.0, 1.0, 30.0], [0.1, 0.0, 0.01]])
FLOW = fm.GradientFlow(bowl, fm.DenseMetric(exponential_mass))


def in_coordinates(kind, potential, mass, *rest):
    """A flow of `x` where `y = A x`, with `A` as args."""
    return kind(lambda x, A: potential(A @ x, None), fm.DenseMetric(lambda x, A: A.T @ mass(A @ x, None) @ A), *rest)


def test_the_same_steps_in_all_linear_coordinates():
    flow = in_coordinates(fm.GradientFlow, bowl, exponential_mass)
    ours, usual = [], []
    for A in (np.eye(3), COORDINATES):
        y0 = jnp.asarray(np.linalg.solve(A, START))
        ours.append(fm.simulate(flow, y0, 5.0, args=A, controller=fm.MetricController(flow, **TOLERANCES)))
        usual.append(fm.simulate(flow, y0, 5.0, args=A))
    assert ours[0].stats == ours[1].stats
    np.testing.assert_allclose(ours[0].ts, ours[1].ts, atol=1e-6)
    np.testing.assert_allclose(ours[0].ys, ours[1].ys @ COORDINATES.T, atol=1e-7)
    # Negative control: the root mean square of the numbers sees the coordinates.
    assert usual[0].stats != usual[1].stats


def test_position_and_velocity_are_both_measured():
    flow = in_coordinates(fm.InertialFlow, arm_potential, arm_mass, 0.3)
    runs = []
    for A in (np.eye(2), np.asarray([[3.0, 1.0], [0.0, 0.2]])):
        y0 = tuple(jnp.asarray(np.linalg.solve(A, part)) for part in ([1.0, -0.6], [0.4, 0.9]))
        runs.append(fm.simulate(flow, y0, 3.0, args=A, controller=fm.MetricController(flow, **TOLERANCES)))
        ends = [A @ part[-1] for part in runs[-1].ys]
    assert runs[0].stats == runs[1].stats
    np.testing.assert_allclose(ends, [part[-1] for part in runs[0].ys], atol=1e-6)
    assert np.abs(runs[0].ledger).max() < 1e-5


@pytest.mark.parametrize("by", ["state", "module", "leaf"])
def test_a_step_is_judged_by_the_formula(by):
    """Against NumPy, in a metric that couples blocks and moves: accepted or not, and how long the next step is."""

    def mass(t, y, args):
        return (1 + t) * exponential_mass(jnp.concatenate([y["a"]["p"], y["a"]["q"], y["b"]]), args)

    blocks = {"state": [[0, 1, 2]], "module": [[0, 1], [2]], "leaf": [[0], [1], [2]]}[by]
    controller = fm.MetricController(fm.VectorField(lambda t, y, args: y, fm.MovingMetric(mass)), 0.03, 0.01, by)
    state = (jnp.asarray(1e-9), (jnp.asarray(1.0), jnp.asarray(1.0), jnp.asarray(False)))

    @jax.jit
    @jax.vmap
    def judged(y0, y1, error):
        trees = ({"a": {"p": v[:1], "q": v[1:2]}, "b": v[2:]} for v in (y0, y1, error))
        y0, y1, error = trees
        keep, _, next_t1, *_ = controller.adapt_step_size(0.5, 0.7, y0, y1, None, error, 5, state)
        return keep, next_t1

    draw = np.random.default_rng(0)
    y0, step, error = draw.normal(size=(3, 64, 3)) * np.asarray([1.0, 0.3, 0.02])[:, None, None]
    keep, next_t1 = judged(y0, y0 + step, error)
    for row in range(64):
        M = 1.5 * np.asarray(exponential_mass(y0[row], None))
        ratios = []
        for block in blocks:
            of = [np.sqrt(v[row][block] @ M[np.ix_(block, block)] @ v[row][block]) for v in (error, y0, y0 + step)]
            ratios.append(of[0] / (0.01 + 0.03 * max(of[1:])))
        accepted = max(ratios) < 1
        assert keep[row] == accepted
        factor = np.clip(0.9 * max(ratios) ** -0.2, 1 if accepted else 0.2, 10 if accepted else 0.9)
        np.testing.assert_allclose(next_t1[row] - (0.7 if accepted else 0.5), 0.2 * factor, rtol=1e-9)
    assert 10 < np.sum(keep) < 54


def test_blocks_of_a_network_are_those_of_its_metric():
    """Also of the full metric, which couples layers: products alone would mix them."""
    net, problem = regression(3, (3, 2, 2))
    K = naive_blocks(net, problem.inputs, lambda z: np.eye(2))
    draw = np.random.default_rng(1)
    vectors = [jax.tree.map(lambda leaf: jnp.asarray(draw.normal(size=leaf.shape)), net) for _ in range(2)]
    flat = np.stack([np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(v)]) for v in vectors])
    full, layerwise = (
        fm.GradientFlow(problem, metric.of(problem, mass=0.1)) for metric in (fm.FullMetric, fm.LayerwiseMetric)
    )

    @eqx.filter_jit
    def by_metric(net, vectors):
        cases = ((full, "module"), (layerwise, "module"), (full, "state"))
        return [lengths(flow, by, 0.0, net, vectors, None) for flow, by in cases]

    layers = columns_by_layer(net)
    for found, blocks in zip(by_metric(net, vectors), (layers, layers, [np.arange(flat.shape[1])]), strict=True):
        wanted = [[np.sqrt(0.1 * v[at] @ v[at] + np.sum((K[:, at] @ v[at]) ** 2)) for at in blocks] for v in flat]
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_the_euclidean_metric_has_the_euclidean_norm():
    flow = fm.VectorField(lambda t, y, args: y)
    vector = jnp.asarray([3.0, 4.0])
    np.testing.assert_allclose(lengths(flow, "state", 0.0, vector, [vector], None), [[5.0]])


def test_a_run_in_legs_is_the_same_run(monkeypatch):
    """To the bit, with what the stopping rule remembers; the energy that is carried along is no part of the error."""
    flow = fm.GradientFlow(bowl, fm.DiagonalMetric(lambda y, args: 1 + y**2))
    tight = {"rtol": 1e-9, "atol": 1e-12}
    settings = {"controller": fm.MetricController(flow, **tight), "until": fm.AtEquilibrium(flow, 1e-3, window=4.0)}
    whole = fm.simulate(flow, START, 1e3, **settings)
    without = fm.VectorField(flow.vector_field, flow.metric)
    bare = fm.simulate(without, START, 1.0, controller=fm.MetricController(without, **tight))
    monkeypatch.setattr(importlib.import_module("flowmod.simulate.simulate"), "_capacity", lambda *args: 16)
    legs = fm.simulate(flow, START, 1e3, **settings)
    assert 32 < len(whole) < 200
    np.testing.assert_array_equal(whole.ts, legs.ts)
    np.testing.assert_array_equal(whole.ys, legs.ys)
    np.testing.assert_array_equal(whole.dissipated, legs.dissipated)
    assert len(bare) > 8
    np.testing.assert_allclose(bare.ts[:-1], whole.ts[: len(bare) - 1], rtol=1e-9)


def test_a_metric_that_calls_the_state_inside_of_transformations():
    """An Equinox network keeps its activation, float32 stays float32, and the run is differentiable under `jit`."""
    net = eqx.nn.MLP(1, 1, 2, 1, activation=jnp.tanh, dtype=jnp.float32, key=jax.random.key(0))
    x = jnp.ones(1, jnp.float32)
    flow = fm.GradientFlow(
        lambda net, args: args * jnp.sum(net(x) ** 2),
        fm.DenseMetric(lambda net, args: jnp.eye(7, dtype=x.dtype) * (1 + jnp.sum(net(x) ** 2))),
    )
    controller = fm.MetricController(flow, 1e-5, 1e-7, "module")

    @jax.jit
    def end(args):
        def loss(args):
            ts, forward = np.asarray([0.0, 1.0]), diffrax.ForwardMode()
            run = fm.simulate(flow, net, ts=ts, args=args, controller=controller, adjoint=forward)
            assert run.ys.layers[0].weight.dtype == np.float32
            return jnp.sum(run.ys.layers[0].weight[-1])

        return jax.jvp(loss, (args,), (jnp.ones_like(args),))

    up, down, slope = end(jnp.float32(0.3))[0], end(jnp.float32(0.1))[0], end(jnp.float32(0.2))[1]
    np.testing.assert_allclose(slope, (up - down) / 0.2, rtol=2e-2)


def test_a_field_that_ends_is_no_step():
    """y' = y^2 blows up at t = 1: steps into infinity are rejected, as by diffrax's own norm."""
    flow = fm.VectorField(lambda t, y, args: y**2, fm.DiagonalMetric(lambda y, args: 1 / y**2))
    run = fm.simulate(flow, jnp.ones(1), 2.0, controller=fm.MetricController(flow, **TOLERANCES), throw=False)
    assert run.result is fm.RESULTS.dt_min_reached
    np.testing.assert_allclose(run.end_time, 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fm.MetricController(bowl, 1e-6, 1e-9), "`flow` must be a flow"),
        (lambda: fm.MetricController(FLOW, 0.0, 1e-9), "`rtol` must be positive, got 0.0"),
        (lambda: fm.MetricController(FLOW, 1e-6, np.nan), "`atol` must be positive, got nan"),
        (lambda: fm.MetricController(FLOW, "1e-6", 1e-9), "`rtol` must be a number"),
        (lambda: fm.MetricController(FLOW, 1e-6, 1e-9, by="layer"), "`by` must be one of state, module, leaf"),
        (
            lambda: fm.simulate(
                FLOW, START, 1.0, solver=diffrax.Euler(), dt0=0.1, controller=fm.MetricController(FLOW, 1e-6, 1e-9)
            ),
            "`solver` has no error estimate",
        ),
        (
            lambda: fm.simulate(FLOW, START.astype(jnp.float32), 1.0, controller=fm.MetricController(FLOW, 1e-8, 1e-9)),
            "`rtol` must be at least 9.5e-07 for a float32 state",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
