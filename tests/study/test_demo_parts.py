"""What the demo measures along its trainings is what it says: condition numbers, limits, distances, fates."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.study.demo import network, optimizers, regression, tables
from flowmod.study.demo.digits import DigitsConfig, load_digits
from flowmod.study.demo.training import Training, saved_times


@pytest.fixture
def tiny(key):
    """A network of one hidden layer of three units, eight images, and its layerwise flow."""
    config = network.NetworkConfig(hidden=3)
    digits = load_digits(DigitsConfig(train=8))
    start = config.network(key)
    return start, config.flows(start, digits)[1]


def test_speeds_and_condition_numbers_are_the_dense_ones(tiny):
    start, flow = tiny
    layers = fm.simulate(flow, start, ts=[0.0, 0.01]).layers
    speeds, conditions = layers.by_layer("update_norm"), layers.by_layer("condition")
    velocity = flow.vector_field(jnp.zeros(()), start, None)
    operator = flow.metric(start)
    matrix = np.asarray(operator.as_matrix())
    for index, place in enumerate(operator.blocks.places(start)):
        layer = flow.metric.layers[index]
        flat = np.concatenate([np.ravel(leaf) for leaf in operator.blocks.split(velocity)[index]])
        assert speeds[layer][0] == pytest.approx(np.linalg.norm(flat), rel=1e-8)
        assert conditions[layer][0] == pytest.approx(np.linalg.cond(matrix[np.ix_(place, place)]), rel=0.02)


def test_where_no_curvature_is_positive_every_step_is_stable():
    run = SimpleNamespace(ts=np.array([0.0, 1.0, 2.0]))
    training = Training(None, run, np.zeros(3), np.array([0, 2]), np.array([-1.0, 4.0]))
    np.testing.assert_array_equal(training.limits, [np.inf, 0.5])
    np.testing.assert_array_equal(training.probed, [0.0, 2.0])


def test_the_saved_times_begin_at_the_start_and_end_at_the_end():
    times = saved_times(10.0, 5)
    assert len(times) == 5
    assert (times[0], times[-1]) == (0, pytest.approx(10))
    np.testing.assert_allclose(times[2:] / times[1:-1], times[2] / times[1])


def test_a_twin_starts_so_far_apart_and_its_distance_is_the_metrics(key):
    digits = load_digits(DigitsConfig(train=6))
    start = fm.Linear(64, 10, key=key)
    problem = fm.Supervised(start, fm.SoftmaxCrossEntropy(), digits.images, digits.labels, fm.WeightDecay(0.1))
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1))
    twin = regression._moved(start, 1e-3, jax.random.key(1))
    difference = np.concatenate([np.ravel(b - a) for a, b in zip(*map(jax.tree.leaves, (start, twin)), strict=True)])
    assert np.linalg.norm(difference) == pytest.approx(1e-3)
    squared = difference @ np.asarray(flow.metric(start).as_matrix()) @ difference
    assert regression._distance(flow, start, twin) == pytest.approx(np.sqrt(squared), rel=1e-9)


def test_the_envelope_is_the_integral_of_the_rate():
    run = SimpleNamespace(ts=np.array([0.0, 1.0, 3.0]))
    twins = regression.Twins(0.1, run, np.array([1.0, 2.0, 2.0]), np.zeros(3), np.zeros((1, 3)))
    np.testing.assert_allclose(twins.envelope, np.exp([0.0, -1.5, -5.5]))


def test_fates_are_told_by_their_changes():
    assert tables._fates([0.1, 0.2, 0.4], ["converged", "converged", "diverged"]) == (
        "converged from 0.1\ndiverged from 0.4"
    )


def test_the_optimizers_start_where_the_network_does(monkeypatch):
    starts = []
    monkeypatch.setattr(optimizers, "compare", lambda flow, chosen, start, *rest, **options: starts.append(start))
    digits, config = load_digits(DigitsConfig(train=8)), network.NetworkConfig(hidden=3)
    key = jax.random.key(5)
    config_of_optimizers = dataclasses.replace(optimizers.OptimizersConfig(), images=4)
    optimizers.compute_optimizers(config_of_optimizers, config, digits, key, lambda line: None)
    for start in starts:
        for ours, theirs in zip(*map(jax.tree.leaves, (start, config.network(key))), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(starts) == 2
