"""Metrics on parts of batches, masses that follow the rows, and factors on top of each other, against dense NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import flowmod as fm
from flowmod.linalg import (
    ArrangedRows,
    AutodiffRows,
    DenseRows,
    KhatriRaoRows,
    Layout,
    LookupRows,
    PositionRows,
    RepeatedRows,
    SummedRows,
    first_samples,
    held,
    stacked,
)
from flowmod.metric import SubsetMetric, TraceMass
from tests.networks import classification, columns_by_layer, naive_blocks, softmax_factor, tanh_network


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


def block_diagonal(net, normal):
    keep = np.zeros_like(normal)
    for places in columns_by_layer(net):
        keep[np.ix_(places, places)] = 1
    return normal * keep


@pytest.fixture
def batch():
    net, problem = classification(count=10)
    return net, fm.Supervised(net, fm.SoftmaxCrossEntropy()), (problem.inputs, problem.targets)


# --- a part of the batch ---


@pytest.mark.parametrize(("samples", "chosen"), [(4, [0, 2, 5, 7]), (5, [0, 2, 4, 6, 8]), (99, list(range(10)))])
def test_a_subset_metric_is_that_of_evenly_spaced_samples(batch, samples, chosen):
    net, problem, args = batch
    metric = SubsetMetric(fm.LayerwiseMetric.of(problem, mass=0.1), samples=samples)
    K = naive_blocks(net, args[0][np.array(chosen)], softmax_factor)
    dense = block_diagonal(net, K.T @ K) + 0.1 * np.eye(K.shape[1])
    np.testing.assert_allclose(eqx.filter_jit(lambda y: metric(y, args).as_matrix())(net), dense, atol=1e-12)
    vector = jax.tree.map(lambda leaf: 1 + leaf**2, net)
    there = eqx.filter_jit(lambda y: metric.flat(y, vector, args))(net)
    np.testing.assert_allclose(flat(there), dense @ flat(vector), atol=1e-11)
    back = eqx.filter_jit(lambda y: metric.sharp(y, there, args))(net)
    np.testing.assert_allclose(flat(back), flat(vector), rtol=1e-9)


def test_descent_takes_the_gradient_of_the_whole_batch(batch):
    net, problem, args = batch
    metric = SubsetMetric(fm.LayerwiseMetric.of(problem, mass=0.1), samples=4)
    _, covector, vector = eqx.filter_jit(lambda y: fm.steepest_descent(problem, metric, y, args))(net)
    K = naive_blocks(net, args[0][np.array([0, 2, 5, 7])], softmax_factor)
    wanted = -np.linalg.solve(block_diagonal(net, K.T @ K) + 0.1 * np.eye(K.shape[1]), flat(covector))
    np.testing.assert_allclose(flat(vector), wanted, rtol=1e-9)
    np.testing.assert_allclose(flat(covector), flat(jax.grad(problem)(net, args)), rtol=1e-12)
    flow = fm.GradientFlow(problem, metric)
    np.testing.assert_array_equal(flat(jax.jit(lambda y: flow.vector_field(0.0, y, args))(net)), flat(vector))


def test_a_subset_metric_is_of_batches(batch):
    net, problem, args = batch
    with pytest.raises(ValueError, match=r"`metric` must be a modular metric such as .* got Euclidean"):
        SubsetMetric(fm.Euclidean(), 4)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="`metric` must take its samples from `args`, but it has some of its own"):
        SubsetMetric(fm.LayerwiseMetric(net, args[0]), 4)
    for samples in (0, 2.5, True):
        with pytest.raises(ValueError, match="`samples` must be a whole number from 1, got"):
            SubsetMetric(fm.LayerwiseMetric.of(problem), samples)
    with pytest.raises(ValueError, match=r"`args` must be \(inputs, targets\)"):
        SubsetMetric(fm.LayerwiseMetric.of(problem), 4)(net)


# --- a mass that follows the rows ---


def traced_mass(net, K, fraction):
    """The diagonal of `D`, in NumPy."""
    mass = np.zeros(K.shape[1])
    for places in columns_by_layer(net):
        mass[places] = fraction * np.trace(K[:, places].T @ K[:, places]) / len(places)
    return mass


@pytest.mark.parametrize("make", [fm.LayerwiseMetric.of, fm.FullMetric.of])
def test_a_trace_mass_is_a_fraction_of_each_blocks_mean_eigenvalue(make):
    net, problem = classification()
    metric = make(problem, mass=TraceMass(0.2))
    K = naive_blocks(net, problem.inputs, softmax_factor)
    normal = K.T @ K if make == fm.FullMetric.of else block_diagonal(net, K.T @ K)
    dense = normal + np.diag(traced_mass(net, K, 0.2))
    np.testing.assert_allclose(eqx.filter_jit(lambda y: metric(y).as_matrix())(net), dense, atol=1e-12)
    gradient = flat(jax.grad(problem)(net))
    vector = eqx.filter_jit(lambda y: fm.steepest_descent(problem, metric, y)[2])(net)
    np.testing.assert_allclose(flat(vector), -np.linalg.solve(dense, gradient), rtol=1e-8)


def test_a_trace_mass_has_no_scale():
    net, problem = classification()
    matrices = []
    for scale in (1.0, 10.0):
        output = fm.OutputFactor(scale * jnp.eye(3))
        metric = fm.LayerwiseMetric(net, problem.inputs, output, TraceMass(0.1))
        matrices.append(eqx.filter_jit(lambda y, metric=metric: metric(y).as_matrix())(net))
    np.testing.assert_allclose(matrices[1], 100 * matrices[0], rtol=1e-10, atol=1e-12)
    fixed = fm.LayerwiseMetric(net, problem.inputs, fm.OutputFactor(10 * jnp.eye(3)), 0.1)
    assert not np.allclose(eqx.filter_jit(lambda y: fixed(y).as_matrix())(net), matrices[1])


def test_a_trace_mass_is_differentiated_with_the_metric():
    net, problem = classification()
    metric = fm.LayerwiseMetric.of(problem, mass=TraceMass(0.2))
    direction = jax.tree.map(lambda leaf: jnp.cos(3 * leaf), net)
    sharp = jax.jit(lambda y: metric.sharp(y, direction))
    moved = lambda h: jax.tree.map(lambda leaf, d: leaf + h * d, net, direction)  # noqa: E731
    exact = flat(jax.jit(lambda y: jax.jvp(sharp, (y,), (direction,))[1])(net))
    numeric = (flat(sharp(moved(1e-5))) - flat(sharp(moved(-1e-5)))) / 2e-5
    np.testing.assert_allclose(exact, numeric, rtol=1e-5, atol=1e-6 * np.abs(exact).max())


def test_a_layer_without_influence_has_a_mass():
    net = tanh_network(5, 4, 3)
    net = eqx.tree_at(lambda n: n.layers[2].weight, net, jnp.zeros((3, 4)))
    problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), *[classification()[1].inputs, classification()[1].targets])
    metric = fm.LayerwiseMetric.of(problem, mass=TraceMass(0.1))
    vector = eqx.filter_jit(lambda y: fm.steepest_descent(problem, metric, y)[2])(net)
    np.testing.assert_array_equal(vector.layers[0].weight, 0)
    assert np.isfinite(flat(vector)).all()


@pytest.mark.parametrize("fraction", [0.0, -1.0, np.inf, "a", None, True, np.ones(2)])
def test_a_fraction_is_a_positive_number(fraction):
    with pytest.raises(ValueError, match="`fraction` must be a positive number, got"):
        TraceMass(fraction)


@pytest.mark.parametrize("mass", [0.5, TraceMass(0.2)])
def test_a_damped_metric_has_so_many_times_the_mass(mass):
    net, problem = classification()
    metric = fm.LayerwiseMetric.of(problem, mass=mass)
    matrix = eqx.filter_jit(lambda metric, y: metric(y).as_matrix())
    one, three = matrix(metric, net), matrix(metric.damped(3.0), net)
    five = matrix(metric.damped(5.0), net)
    np.testing.assert_allclose(three - one, np.diag(np.diag(three - one)), atol=1e-12)
    np.testing.assert_allclose(five - one, 2 * (three - one), atol=1e-12)
    assert float(jnp.min(jnp.diag(three - one))) > 0


# --- factors on top of each other ---


def numbers(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def table(seed, n):
    indices = jax.random.randint(jax.random.key(seed + 50), (n, 4), 0, 6)
    return LookupRows(numbers(seed, n, 2, 4, 3), indices, 6)


def affine(seed, n):
    return KhatriRaoRows(numbers(seed, n, 2, 3), numbers(seed + 9, n, 4), True)


def any_map(seed, n):
    part = (numbers(77, 3, 4),)
    return AutodiffRows(lambda part, z: jnp.tanh(part[0] @ z), part, numbers(seed, n, 4), numbers(seed + 9, n, 2, 3))


def twice(seed, n):
    dense = DenseRows(numbers(seed, n, 2, 18), ((6, 3),))
    return SummedRows((table(seed + 20, n), dense))


KINDS = {
    "affine": affine,
    "positions": lambda seed, n: PositionRows(numbers(seed, n, 2, 5, 3), numbers(seed + 9, n, 5, 4), True),
    "lookup": table,
    "dense": lambda seed, n: DenseRows(numbers(seed, n, 2, 7), ((3, 2), (1,))),
    "any map": any_map,
    "used twice": twice,
    "stored otherwise": lambda seed, n: ArrangedRows(
        affine(seed, n), (Layout(1, (3,), "float64"), Layout(0, (4, 3), "float64", (("transpose", (1, 0)),))), "float64"
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_stacked_factors_are_the_rows_of_all_samples(kind):
    factors = [KINDS[kind](seed, n) for seed, n in ((1, 3), (2, 3), (3, 2))]
    whole = stacked([held(factor) for factor in factors])
    dense = np.concatenate([factor.to_dense() for factor in factors])
    np.testing.assert_allclose(whole.to_dense(), dense, atol=1e-14)
    assert whole.row_shape == (8, 2)
    mass = tuple(jnp.asarray(2.0) for _ in whole.shapes)
    np.testing.assert_allclose(whole.gram(mass), dense @ dense.T / 2, atol=1e-12)
    np.testing.assert_allclose(first_samples(whole, 3).to_dense(), dense[:6], atol=1e-14)
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(whole))


def test_repeated_factors_are_stacked_by_layer():
    factors = [
        RepeatedRows(KhatriRaoRows(numbers(seed, 2, n, 2, 3), numbers(seed + 9, 2, n, 4), True))
        for seed, n in ((1, 3), (2, 4))
    ]
    whole = stacked([held(factor) for factor in factors])
    assert whole.row_shape == (2, 7, 2)
    for layer in range(2):
        dense = [jax.tree.map(lambda a, layer=layer: a[layer], factor.each).to_dense() for factor in factors]
        own = jax.tree.map(lambda a, layer=layer: a[layer], whole.each).to_dense()
        np.testing.assert_allclose(own, np.concatenate(dense), atol=1e-14)
    assert first_samples(whole, 3).row_shape == (2, 3, 2)
