"""How fast outputs approach their targets: the kernel against explicit Jacobians, and against runs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import flowmod as fm
from tests.networks import classification, regression, softmax_factor

NET, PROBLEM = regression(count=5, sizes=(3, 4, 2))
METRIC = fm.LayerwiseMetric.of(PROBLEM, mass=0.1)
FLOW = fm.GradientFlow(PROBLEM, METRIC)


@eqx.filter_jit
def outputs_and_jacobian(net, inputs):
    x, unravel = ravel_pytree(net)

    def outputs(x):
        return jax.vmap(unravel(x))(inputs)

    return outputs(x), jax.jacfwd(outputs)(x)


def rows(net, problem, factor=lambda z: np.eye(len(z))):
    """The outputs, and `K` from the Jacobian of all of them with the factor of each output."""
    outputs, jacobian = map(np.asarray, outputs_and_jacobian(net, problem.inputs))
    return outputs, np.concatenate(list(map(np.matmul, map(factor, outputs), jacobian))) / np.sqrt(len(outputs))


def kernel(flow, net, K):
    """`K M^-1 K^T`, in NumPy."""
    return K @ np.linalg.solve(np.asarray(jax.jit(lambda net: flow.metric(net).as_matrix())(net)), K.T)


def test_the_residual_decays_as_the_kernel_says():
    x, unravel = ravel_pytree(NET)
    velocity = jax.jit(lambda x: ravel_pytree(FLOW.vector_field(0.0, unravel(x)))[0])(x)
    outputs, K = rows(NET, PROBLEM)
    N, e = kernel(FLOW, NET, K), (outputs - PROBLEM.targets).ravel()
    ahead, behind = (rows(unravel(x + h * velocity), PROBLEM)[0] - PROBLEM.targets for h in (1e-5, -1e-5))
    decay = -np.log(np.linalg.norm(ahead) / np.linalg.norm(behind)) / 2e-5
    np.testing.assert_allclose(decay, e @ N @ e / (e @ e), rtol=1e-7)
    found = fm.output_rate(FLOW, NET)
    np.testing.assert_allclose([found.rate, found.fastest], np.linalg.eigvalsh(N)[[0, -1]], rtol=1e-8)
    assert 0 < found.rate <= decay <= found.fastest
    # Negative controls: without the mean over samples, or without the metric, another decay is expected.
    assert e @ (5 * N) @ e / (e @ e) > 2 * decay
    assert abs(e @ K @ K.T @ e / (e @ e) - decay) > 0.1 * decay


WEIGHTS = np.linspace(0.5, 2, 6)


DIAGONAL = fm.DiagonalMetric(lambda y, args: jax.tree.map(lambda leaf: jnp.asarray(WEIGHTS)[None], y))
MOVING = fm.MovingMetric(lambda t, y, args: (1 + t) * jnp.diag(jnp.asarray(WEIGHTS)))


def linear_model(inputs, metric=DIAGONAL):
    """A linear model with one output, and its flow in a diagonal metric."""
    model = fm.Linear(6, 1, use_bias=False, key=jax.random.key(0))
    problem = fm.Supervised(model, fm.MeanSquaredError(), inputs, np.zeros((len(inputs), 1)))
    return fm.GradientFlow(problem, metric), model


def test_a_linear_model_in_closed_form_along_a_run():
    inputs = np.random.default_rng(0).normal(size=(4, 6))
    flow, model = linear_model(inputs)
    run = fm.simulate(flow, model, ts=np.array([0.0, 0.5, 5.0]), rtol=1e-9, atol=1e-12)
    found = fm.output_rate(flow, run)
    values, vectors = np.linalg.eigh(inputs / WEIGHTS @ inputs.T / 4)
    np.testing.assert_allclose(found.rate, np.full(3, values[0]), rtol=1e-10)
    curved = fm.output_rate(flow, model, output=fm.OutputFactor(np.array([[2.0]])))
    np.testing.assert_allclose(curved.rate, 4 * values[0], rtol=1e-10)  # as of four times the loss
    np.testing.assert_allclose(found.fastest, np.full(3, values[-1]), rtol=1e-10)
    # The kernel of a linear model is the same all along, so that the residual is known at any time.
    residuals = run.ys.weight[:, 0] @ inputs.T
    expected = [vectors @ (np.exp(-values * t) * (vectors.T @ residuals[0])) for t in run.ts]
    np.testing.assert_allclose(residuals, expected, atol=1e-8)
    bound = np.exp(-found.rate[0] * run.ts) * np.linalg.norm(residuals[0])
    assert (np.linalg.norm(residuals, axis=1) <= bound * (1 + 1e-9)).all()
    assert str(found).startswith("OutputRate of 4 rows by 6 parameters, the last of 3 states: ")


def test_a_metric_that_moves_is_that_of_the_time():
    for count in (4, 8):  # more rows than parameters take another way
        inputs = np.random.default_rng(0).normal(size=(count, 6))
        found = fm.output_rate(*linear_model(inputs, MOVING), 3.0)
        values = np.linalg.eigvalsh(inputs / WEIGHTS @ inputs.T / count) / 4
        np.testing.assert_allclose(found.fastest, values[-1], rtol=1e-9)
        np.testing.assert_allclose(found.rate, max(values[0], 0), rtol=1e-9, atol=1e-15)


def test_it_is_zero_where_rows_depend_on_each_other_or_outnumber_the_parameters():
    inputs = np.random.default_rng(1).normal(size=(8, 6))
    found = fm.output_rate(*linear_model(inputs))
    assert (found.rows, found.parameters, found.rate) == (8, 6, 0)
    np.testing.assert_allclose(found.fastest, np.linalg.eigvalsh(inputs / WEIGHTS @ inputs.T / 8)[-1], rtol=1e-9)
    assert "more rows than parameters" in str(found)
    np.testing.assert_allclose(fm.output_rate(*linear_model(inputs[[0, 1, 0, 1]])).rate, 0, atol=1e-14)


def test_the_kernel_of_a_classifier_in_its_curvature():
    net, problem = classification(count=4, sizes=(3, 3))
    flow = fm.GradientFlow(problem, fm.FullMetric.of(problem, mass=0.1))
    found = fm.output_rate(flow, net)
    # The naive factor has a row for each class, of which one is of no use in each sample.
    values = np.linalg.eigvalsh(kernel(flow, net, rows(net, problem, softmax_factor)[1]))
    np.testing.assert_allclose(values[:4], 0, atol=1e-12)
    np.testing.assert_allclose([found.rate, found.fastest], values[[4, -1]], rtol=1e-7)
    assert (found.rows, found.parameters) == (8, 12)


def test_bad_input():
    with pytest.raises(ValueError, match=r"`flow` must be a gradient flow of a `fm.Supervised`.*VectorField"):
        fm.output_rate(fm.VectorField(lambda t, y, args: y), NET)
    with pytest.raises(ValueError, match="`flow` must be a flow"):
        fm.output_rate(PROBLEM, NET)
    with pytest.raises(ValueError, match="`y` is traced"):
        jax.jit(lambda y: fm.output_rate(FLOW, y).rate)(NET)
    with pytest.raises(ValueError, match=r"not finite at t = 0.5: the network"):
        fm.output_rate(FLOW, jax.tree.map(lambda leaf: jnp.nan * leaf, NET), 0.5)
