"""The layerwise, full and per-sample metrics against the whole Jacobian in NumPy, by every solver."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import flowmod as fm
from tests.networks import classification, columns_by_layer, naive_blocks, regression, softmax_factor


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


def relative(found, wanted):
    return np.linalg.norm(flat(found) - wanted) / np.linalg.norm(wanted)


@pytest.fixture(scope="module")
def example():
    """A network of three layers, its problem, its gradient, and the rows of the whole network in NumPy."""
    net, problem = classification(sizes=(5, 4, 3, 3), regularizer=fm.WeightDecay(0.3))
    return net, problem, flat(jax.grad(problem)(net)), naive_blocks(net, problem.inputs, softmax_factor)


@eqx.filter_jit
def looked_at(flow, y):
    """Descent, covector of a vector, and the matrix: one program for each metric."""
    metric = flow.metric
    _, covector, vector = fm.steepest_descent(flow.potential, metric, y)
    return vector, metric.sharp(y, covector), metric.flat(y, vector), metric(y).as_matrix()


@pytest.mark.parametrize("solver", fm.FullMetric.SOLVERS)
def test_the_full_metric_by_every_solver(example, solver):
    net, problem, gradient, K = example
    M = 0.3 * np.eye(K.shape[1]) + K.T @ K
    metric = fm.FullMetric.of(problem, mass=0.3, solver=solver, tolerance=1e-13)
    vector, sharp, covector, matrix = looked_at(fm.GradientFlow(problem, metric), net)
    step = np.linalg.solve(M, gradient)
    assert relative(vector, -step) < 1e-12
    assert relative(sharp, step) < 1e-12
    assert relative(covector, -gradient) < 1e-12
    np.testing.assert_allclose(matrix, M, atol=1e-13)
    block = np.zeros_like(M)
    for columns in columns_by_layer(net):
        block[np.ix_(columns, columns)] = M[np.ix_(columns, columns)]
    assert relative(vector, -np.linalg.solve(block, gradient)) > 0.05  # negative control: the layerwise step


@pytest.mark.parametrize("solver", ["rows", "parameters"])
def test_the_layerwise_metric_from_either_side(example, solver):
    net, problem, gradient, K = example
    M = 0.3 * np.eye(K.shape[1])
    for columns in columns_by_layer(net):
        M[np.ix_(columns, columns)] += K[:, columns].T @ K[:, columns]
    metric = fm.LayerwiseMetric.of(problem, mass=0.3, solver=solver)
    vector, sharp, _, matrix = looked_at(fm.GradientFlow(problem, metric), net)
    step = np.linalg.solve(M, gradient)
    assert relative(vector, -step) < 1e-12
    assert relative(sharp, step) < 1e-12
    np.testing.assert_allclose(matrix, M, atol=1e-13)


def test_the_full_metric_is_at_most_as_many_times_the_layerwise_one_as_there_are_layers(example):
    net, problem, _, _ = example
    full = np.asarray(fm.FullMetric.of(problem, mass=1e-6)(net).as_matrix())
    block = np.asarray(fm.LayerwiseMetric.of(problem, mass=1e-6)(net).as_matrix())
    ratios = np.linalg.eigvals(np.linalg.solve(block, full)).real
    assert 1.5 < ratios.max() <= 3 + 1e-9


def test_the_per_sample_metric_is_the_harmonic_mean_of_those_of_single_samples(example):
    net, problem, gradient, _ = example
    likelihood, inverse = fm.OutputFisher("categorical"), 0
    one = eqx.filter_jit(lambda y, z: fm.LayerwiseMetric(y, None, likelihood, mass=0.3)(y, (z, z)).as_matrix())
    for n in range(len(problem.inputs)):
        inverse = inverse + np.linalg.inv(one(net, problem.inputs[n : n + 1])) / len(problem.inputs)
    metric = fm.PerSampleMetric.of(problem, mass=0.3, tolerance=1e-13)
    vector, sharp, covector, matrix = looked_at(fm.GradientFlow(problem, metric), net)
    assert relative(vector, -inverse @ gradient) < 1e-12
    assert relative(sharp, inverse @ gradient) < 1e-12
    assert relative(covector, -gradient) < 1e-11
    np.testing.assert_allclose(matrix, np.linalg.inv(inverse), atol=1e-11)
    layerwise = fm.LayerwiseMetric.of(problem, mass=0.3).sharp(net, sharp)
    assert relative(layerwise, inverse @ flat(sharp)) > 1e-3  # negative control: it is another metric
    with pytest.raises(ValueError, match=r"`solver` must be one of auto, got 'rows'"):
        fm.PerSampleMetric.of(problem, solver="rows")


def test_with_one_sample_layerwise_and_per_sample_metric_are_the_same():
    net, problem = regression(count=1, sizes=(5, 4, 2))
    covector = jax.grad(problem)(net)
    ours, theirs = (cls.of(problem, mass=0.1) for cls in (fm.PerSampleMetric, fm.LayerwiseMetric))
    np.testing.assert_allclose(flat(ours.sharp(net, covector)), flat(theirs.sharp(net, covector)), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("cls", [fm.FullMetric, fm.PerSampleMetric])
def test_flows_in_them_balance(example, cls):
    net, problem, _, _ = example
    run = fm.simulate(fm.GradientFlow(problem, cls.of(problem, mass=0.3)), net, 2.0, rtol=1e-8, atol=1e-10)
    assert np.abs(run.ledger).max() < 1e-7
    assert run.potential[-1] < 0.8 * run.potential[0]
    assert run.inner_residual.max() < 1e-9


def test_a_mass_by_unit_is_one_by_rows_of_the_weights(example):
    net, problem, gradient, K = example
    by_unit = jax.tree.map(
        lambda leaf: 0.2 + jnp.arange(1.0, 1 + leaf.shape[0]).reshape(-1, *(1,) * (leaf.ndim - 1)), net
    )
    M = np.diag(flat(jax.tree.map(jnp.broadcast_to, by_unit, jax.tree.map(jnp.shape, net))))
    for columns in columns_by_layer(net):
        M[np.ix_(columns, columns)] += K[:, columns].T @ K[:, columns]
    for solver in ("rows", "parameters"):
        metric = fm.LayerwiseMetric.of(problem, mass=by_unit, solver=solver)
        assert relative(metric.sharp(net, jax.grad(problem)(net)), np.linalg.solve(M, gradient)) < 1e-12
