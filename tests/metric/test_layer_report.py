"""Diagnostics by layer, against the whole Jacobian in NumPy: rows, condition, norms, overlap, the best step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.module import Repeated
from flowmod.simulate import layer_report
from tests.networks import classification, columns_by_layer, naive_blocks, regression, softmax_factor

MASS = 0.02


@pytest.fixture(scope="module")
def dense():
    """A classification with its rows `K`, gradient `g` and blocks of columns, all in NumPy."""
    net, problem = classification(sizes=(5, 4, 3, 3))
    K = naive_blocks(net, problem.inputs, softmax_factor)
    g = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(jax.jit(jax.grad(problem))(net))])
    return net, problem, K, g, columns_by_layer(net)


def report_in(metric, problem, net, **settings):
    return layer_report(fm.GradientFlow(problem, metric.of(problem, mass=MASS, **settings)), net)


def block_step(K, g, blocks):
    x = np.zeros_like(g)
    for block in blocks:
        x[block] = np.linalg.solve(MASS * np.eye(len(block)) + K[:, block].T @ K[:, block], g[block])
    return x


def expected(K, g, x, columns):
    """Norms, cosines and the best step of a step `x`."""
    u = K @ x
    effects = [K[:, block] @ x[block] for block in columns]
    overlap = [own @ u / (np.linalg.norm(own) * np.linalg.norm(u)) for own in effects]
    norms = [[np.linalg.norm(v[block]) for block in columns] for v in (g, x)]
    return *norms, overlap, g @ x / (MASS * x @ x + u @ u)


@pytest.mark.parametrize("solver", ["direct", "conjugate_gradients"])
def test_each_number_is_the_dense_one(dense, solver):
    net, problem, K, g, columns = dense
    report = report_in(fm.LayerwiseMetric, problem, net, solver=solver, tolerance=1e-13)
    gradient, update, overlap, best = expected(K, g, block_step(K, g, columns), columns)
    np.testing.assert_allclose(report.gradient_norm, gradient, rtol=1e-10)
    np.testing.assert_allclose(report.update_norm, update, rtol=1e-9)
    np.testing.assert_allclose(report.overlap, overlap, rtol=1e-9)
    np.testing.assert_allclose(report.best_step, best, rtol=1e-9)
    largest = [np.linalg.norm(K[:, block], 2) ** 2 / MASS for block in columns]
    np.testing.assert_allclose(report.condition, 1 + np.array(largest), rtol=0.02)
    assert (report.condition <= (1 + np.array(largest)) * (1 + 1e-12)).all()
    assert report.residual.max() < 1e-11
    assert report.layers == ("layers.0", "layers.2", "layers.4")
    assert report.parameters == tuple(map(len, columns))
    assert report.rows == (18, 18, 18)  # nine samples, and softmax tells two of three classes
    assert (report.iterations > 0).all() == (solver == "conjugate_gradients")
    assert set(report.solver) <= ({"rows", "parameters"} if solver == "direct" else {solver})


def test_the_best_step_is_where_the_quadratic_model_is_lowest(dense):
    net, problem, K, g, columns = dense
    best = float(report_in(fm.LayerwiseMetric, problem, net).best_step)
    x, F = block_step(K, g, columns), MASS * np.eye(len(g)) + K.T @ K
    steps = np.linspace(0, 2, 2001)
    model = -steps * (g @ x) + steps**2 * (x @ F @ x) / 2
    assert steps[np.argmin(model)] == pytest.approx(best, abs=1e-3)
    assert model.min() == pytest.approx(-best * (g @ x) / 2, rel=1e-4)
    # The cosine of the layerwise and the full step in the full metric says how much of the full decrease that is.
    full = np.linalg.solve(F, g)
    cosine = x @ F @ full / np.sqrt((x @ F @ x) * (full @ F @ full))
    assert best * (g @ x) / (g @ full) == pytest.approx(cosine**2, rel=1e-8)
    # Negative control: a step of one overshoots here, and is worse than the best one.
    assert 1 / len(columns) <= best < 0.9
    assert -(g @ x) + (x @ F @ x) / 2 > model.min() + 1e-3


def test_the_full_step_is_best_at_one(dense):
    net, problem, K, g, columns = dense
    report = report_in(fm.FullMetric, problem, net)
    gradient, update, overlap, best = expected(K, g, block_step(K, g, [np.arange(len(g))]), columns)
    np.testing.assert_allclose(report.gradient_norm, gradient, rtol=1e-10)
    np.testing.assert_allclose(report.update_norm, update, rtol=1e-9)
    np.testing.assert_allclose(report.overlap, overlap, rtol=1e-8)
    assert best == pytest.approx(1, rel=1e-10)
    assert float(report.best_step) == pytest.approx(1, rel=1e-10)
    np.testing.assert_allclose(report.condition, 1 + np.linalg.norm(K, 2) ** 2 / MASS, rtol=0.02)
    assert len(set(report.solver)) == len(set(np.asarray(report.residual).tolist())) == 1
    assert report.layers == ("layers.0", "layers.2", "layers.4")


def test_the_residual_is_that_of_the_solve(dense):
    """A loose tolerance shows."""
    net, problem, K, g, columns = dense
    flow = fm.GradientFlow(
        problem, fm.LayerwiseMetric.of(problem, mass=MASS, solver="conjugate_gradients", tolerance=0.05)
    )
    report, x = (
        layer_report(flow, net),
        -np.concatenate(
            [np.ravel(leaf) for leaf in jax.tree.leaves(jax.jit(lambda y: flow.vector_field(0.0, y))(net))]
        ),
    )
    for index, block in enumerate(columns):
        missing = MASS * x[block] + K[:, block].T @ (K[:, block] @ x[block]) - g[block]
        assert report.residual[index] == pytest.approx(np.linalg.norm(missing) / np.linalg.norm(g[block]), rel=1e-6)
    assert report.residual.max() > 1e-4


def test_a_report_inside_transformations(dense):
    net, problem, *_ = dense
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=MASS))
    plain = layer_report(flow, net)
    jitted = jax.jit(lambda y: layer_report(flow, y))(net)
    np.testing.assert_allclose(jitted.overlap, plain.overlap, rtol=1e-10)
    assert jitted.layers == plain.layers
    many = jax.vmap(lambda scale: layer_report(flow, jax.tree.map(lambda leaf: scale * leaf, net)))(
        jnp.asarray([1.0, 0.9])
    )
    assert many.condition.shape == (2, 3)
    assert many.best_step.shape == (2,)
    np.testing.assert_allclose(many.condition[0], plain.condition, rtol=1e-10)


def test_a_report_as_words_and_as_a_table(dense):
    net, problem, *_ = dense
    report = report_in(fm.LayerwiseMetric, problem, net)
    lines = str(report).splitlines()
    assert len({len(line) for line in lines[1:5]}) == 1  # aligned
    assert [line.split()[0] for line in lines[2:5]] == list(report.layers)
    assert float(lines[5].split()[-1]) == pytest.approx(float(report.best_step), rel=1e-3)
    assert report.by_layer("overlap")["layers.4"] == report.overlap[2]
    with pytest.raises(ValueError, match=r"`measure` must be one of iterations, .* got 'rows'"):
        report.by_layer("rows")
    table = report.to_dataframe()
    assert list(table.index) == list(report.layers)
    assert table.loc["layers.2", "condition"] == float(report.condition[1])
    pair = jax.tree.map(lambda leaf: jnp.stack([0 * leaf, leaf]), report)
    assert "the last of 2 states" in str(pair)
    assert str(pair).splitlines()[1:] == lines[1:]
    with pytest.raises(ValueError, match="This report is one of 2 states"):
        pair.to_dataframe()


def test_the_per_sample_metric_has_norms_and_overlaps(dense):
    net, problem, K, g, columns = dense
    report = report_in(fm.PerSampleMetric, problem, net)
    n = len(problem.inputs)
    inverse = np.zeros((len(g), len(g)))
    for rows in K.reshape(n, -1, len(g)) * np.sqrt(n):
        for block in columns:
            own = np.ix_(block, block)
            inverse[own] += np.linalg.inv(MASS * np.eye(len(block)) + rows[:, block].T @ rows[:, block]) / n
    _, update, overlap, best = expected(K, g, inverse @ g, columns)
    np.testing.assert_allclose(report.update_norm, update, rtol=1e-8)
    np.testing.assert_allclose(report.overlap, overlap, rtol=1e-8)
    np.testing.assert_allclose(report.best_step, best, rtol=1e-8)
    assert set(report.solver) == {"per sample"}
    assert np.isnan(report.condition).all()


def test_a_stack_of_equal_layers_is_one_layer():
    keys = jax.random.split(jax.random.key(0), 3)
    net = Repeated([fm.Linear(4, 4, key=key) for key in keys])
    problem = fm.Supervised(net, fm.MeanSquaredError(), jnp.ones((6, 4)) * jnp.arange(6.0)[:, None], jnp.ones((6, 4)))
    report = report_in(fm.LayerwiseMetric, problem, net)
    assert len(report.layers) == 1
    assert 1 / 3 <= float(report.best_step) < 1


@pytest.mark.parametrize(
    ("flow", "words"),
    [
        (lambda p: p, "`flow` must be a flow, got Supervised"),
        (fm.GradientFlow, "a metric with layers, as `fm.LayerwiseMetric`, got one with the metric Euclidean"),
        (lambda p: fm.VectorField(lambda t, y, args: y), "got one with no potential"),
    ],
)
def test_a_flow_without_layers_is_refused(flow, words):
    net, problem = regression()
    with pytest.raises(ValueError, match=words):
        layer_report(flow(problem), net)
