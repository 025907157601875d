"""Training as a flow: the ledger as a real check, the residual beside it, and data that is to blame."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import flowmod as fm
from tests.networks import classification, columns_by_layer, naive_blocks, softmax_factor, tanh_network

SIZES = (6, 8, 3)


def problem_of(**settings):
    return classification(count=20, sizes=SIZES, **settings)


def flow_in(problem, metric):
    if metric == "euclidean":
        return fm.GradientFlow(problem)
    return fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1, solver=metric))


def run(flow, net, t1=4.0, **settings):
    return fm.simulate(flow, net, t1, **settings)


@pytest.mark.parametrize("metric", ["euclidean", "direct", "conjugate_gradients"])
def test_the_ledger_of_a_training_flow_closes(metric):
    net, problem = problem_of(regularizer=fm.WeightDecay(0.02))
    trajectory = run(flow_in(problem, metric), net, rtol=1e-9, atol=1e-12)
    assert np.abs(trajectory.ledger).max() <= 1e-7
    assert trajectory.inner_residual.max() <= 1e-9
    assert trajectory.potential[-1] < 0.9 * trajectory.potential[0]
    assert isinstance(trajectory.ys, fm.Series)
    assert trajectory.ys.layers[0].weight.shape == (len(trajectory), 8, 6)


def test_the_flow_is_that_of_the_dense_matrices_in_scipy():
    from scipy.integrate import solve_ivp

    net, problem = problem_of()
    flat, unravel = ravel_pytree(net)

    def field(t, x):
        net = unravel(jnp.asarray(x))
        K = naive_blocks(net, problem.inputs, softmax_factor)
        M = 0.1 * np.eye(x.size)
        for columns in columns_by_layer(net):
            M[np.ix_(columns, columns)] += K[:, columns].T @ K[:, columns]
        return -np.linalg.solve(M, gradient(jnp.asarray(x)))

    gradient = jax.jit(jax.grad(lambda x: problem(unravel(x))))
    theirs = solve_ivp(field, (0, 0.3), np.asarray(flat), method="DOP853", rtol=1e-9, atol=1e-11).y[:, -1]
    ours = run(flow_in(problem, "direct"), net, 0.3, rtol=1e-9, atol=1e-11).ys
    np.testing.assert_allclose(ravel_pytree(jax.tree.map(lambda leaf: leaf[-1], ours))[0], theirs, atol=1e-7)


class OfGradient(fm.GradientFlow):
    """A flow whose ledger sums `g . y'`: it closes for any `y'`, and is why ours does not do so."""

    def dissipation(self, t, y, velocity, args=None):
        slope = jax.grad(self.potential)(y, args)
        return -sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(velocity), strict=True))


def broken(fault):
    """A layerwise metric in a flow where one side of the ledger is wrong."""
    net, problem = problem_of()
    metric = fm.LayerwiseMetric.of(problem, mass=0.1)
    other = fm.LayerwiseMetric.of(problem, mass=0.2) if fault == "mass" else metric

    class Broken(fm.AbstractMetric):
        def __call__(self, y, args=None):
            return metric(y, args)

        def flat(self, y, vector, args=None):
            return metric.flat(y, vector, args)

        def sharp(self, y, covector, args=None):
            solved = other.sharp(y, covector, args)
            return jax.tree.map(jnp.negative, solved) if fault == "sign" else solved

        def at(self, t):
            return self

    return net, problem, Broken()


@pytest.mark.parametrize("fault", ["mass", "sign"])
def test_a_ledger_of_the_metric_sees_what_one_of_the_gradient_does_not(fault):
    net, problem, metric = broken(fault)
    honest = run(fm.GradientFlow(problem, metric), net, 0.5)
    assert np.abs(honest.ledger).max() > 0.05
    assert honest.inner_residual.max() > 0.05
    blind = run(OfGradient(problem, metric), net, 0.5)
    assert np.abs(blind.ledger).max() < 1e-4  # closed, and wrong


def test_an_inexact_solve_is_seen_in_the_residual_and_hides_from_the_ledger():
    net, problem = problem_of()
    exact = run(flow_in(problem, "direct"), net, 1.0)
    loose = fm.LayerwiseMetric.of(problem, mass=0.01, solver="conjugate_gradients", tolerance=0.3)
    rough = run(fm.GradientFlow(problem, loose), net, 1.0, rtol=1e-3, atol=1e-3, max_steps=2000, throw=False)
    assert rough.inner_residual.max() > 0.02
    assert np.abs(rough.ledger).max() < 0.1 * rough.inner_residual.max()
    assert exact.inner_residual.max() < 1e-12


def test_the_inner_tolerance_follows_the_integrator():
    net, problem = problem_of()
    residuals = []
    for rtol in (1e-4, 1e-7):
        trajectory = run(flow_in(problem, "conjugate_gradients"), net, 1.0, rtol=rtol, atol=rtol / 1000)
        assert trajectory.inner_residual.max() <= rtol / 100
        assert trajectory.stats["rejected"] <= 2
        residuals.append(trajectory.inner_residual.max())
    assert residuals[1] < residuals[0] / 10


def test_a_solve_that_does_not_converge_ends_the_run_with_its_place(monkeypatch):
    monkeypatch.setattr(sys.modules["flowmod.linalg.conjugate_gradients"], "MOST_STEPS", 2)
    net, problem = classification(count=21, sizes=SIZES)  # a size of its own: no compiled program to find
    metric = fm.LayerwiseMetric.of(problem, mass=1e-4, solver="conjugate_gradients", tolerance=1e-9)
    with pytest.raises(ValueError, match=r"inner solve of the metric ended with a relative residual of .* in layer 'l"):
        run(fm.GradientFlow(problem, metric), net)
    ended = run(fm.GradientFlow(problem, metric), net, throw=False)
    assert ended.outcome is fm.RESULTS.inner_solve_failed


@pytest.mark.parametrize("metric", ["direct", "conjugate_gradients"])
def test_single_precision_trains_as_well(metric):
    net, problem = problem_of()
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), net)
    flow, ts = flow_in(problem, metric), np.linspace(0, 4, 9)
    exact = run(flow, net, ts=ts)
    ours = run(flow, single, ts=ts, rtol=2e-6, atol=1e-7)
    assert ours.ys.layers[0].weight.dtype == np.float32
    np.testing.assert_allclose(ours.potential, exact.potential, rtol=1e-4)
    assert np.abs(ours.ledger).max() <= 1e-5


def test_a_network_travels_through_a_file(tmp_path):
    net, problem = problem_of()
    trajectory = run(flow_in(problem, "direct"), net, 1.0, observe=lambda t, y, args: {"first": y.layers[0].bias[0]})
    loaded = fm.load(trajectory.save(tmp_path / "run.nc"), like=net)
    np.testing.assert_array_equal(loaded.ys.layers[2].weight, trajectory.ys.layers[2].weight)
    np.testing.assert_array_equal(loaded.inner_residual, trajectory.inner_residual)
    assert "layers.0.weight" in trajectory.to_xarray()
    last = jax.tree.map(lambda leaf: leaf[-1], loaded.ys)
    assert float(problem(last)) == pytest.approx(trajectory.potential[-1], rel=1e-12)


def test_a_wrapped_network_keeps_its_functions():
    mlp = eqx.nn.MLP(6, 3, 4, 1, activation=jax.nn.softplus, key=jax.random.key(0))
    _, problem = problem_of()
    wrapped = fm.Supervised(fm.wrap(mlp), fm.SoftmaxCrossEntropy(), problem.inputs, problem.targets)
    flow = fm.GradientFlow(wrapped, fm.LayerwiseMetric.of(wrapped, mass=0.1))
    trajectory = run(flow, fm.wrap(mlp), 1.0)
    assert trajectory.ys.module.activation is mlp.activation
    assert np.abs(trajectory.ledger).max() < 1e-4


def test_batches_through_args_and_the_sample_that_is_to_blame():
    net, problem = problem_of()
    loose = fm.Supervised(net, fm.SoftmaxCrossEntropy())
    flow = fm.GradientFlow(loose, fm.LayerwiseMetric.of(loose, mass=0.1))
    batch = (problem.inputs, problem.targets)
    ours, fixed = run(flow, net, 1.0, args=batch), run(flow_in(problem, "direct"), net, 1.0)
    np.testing.assert_allclose(ours.potential, fixed.potential, rtol=1e-10)
    spoiled = (problem.inputs.at[17, 1].set(jnp.nan), problem.targets)
    with pytest.raises(ValueError, match="`inputs` must be finite, but sample 17 is not"):
        run(flow, net, 1.0, args=spoiled)
    with pytest.raises(ValueError, match="labels from 0 to 2, got 3 at sample 5"):
        run(flow, net, 1.0, args=(problem.inputs, problem.targets.at[5].set(3)))
    with pytest.raises(ValueError, match=r"`params` must be the parameters of the module"):
        run(flow, tanh_network(6, 5, 3), 1.0, args=batch)


def test_an_ensemble_of_networks():
    net, problem = problem_of()
    starts = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.9 * leaf, 1.1 * leaf]), net)
    flow = flow_in(problem, "direct")
    runs = fm.ensemble(flow, starts, ts=np.linspace(0, 1, 3))
    alone = run(flow, jax.tree.map(lambda leaf: leaf[1], starts), ts=np.linspace(0, 1, 3))
    np.testing.assert_allclose(runs.ends.layers[0].weight[1], alone.ys.layers[0].weight[-1], atol=1e-6)


def test_regression_reaches_the_least_squares_solution(key):
    """One linear layer without a mass to speak of: the exact Gauss-Newton flow, y(t) = y* + exp(-t) (y0 - y*)."""
    inputs = jax.random.normal(key, (30, 3))
    targets = inputs @ jnp.asarray([[1.0, 2.0], [0.0, -1.0], [0.5, 0.5]]) + 1.0
    net = fm.Linear(3, 2, key=key)
    problem = fm.Supervised(net, fm.MeanSquaredError(), inputs, targets)
    end = run(fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=1e-9)), net, 3.0, rtol=1e-9).ys
    solution, *_ = np.linalg.lstsq(np.c_[inputs, np.ones(30)], np.asarray(targets))
    fraction = np.exp(-3.0)
    expected = solution[:3].T + fraction * (np.asarray(net.weight) - solution[:3].T)
    np.testing.assert_allclose(end.weight[-1], expected, atol=1e-6)
