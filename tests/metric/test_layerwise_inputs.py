"""What users bring to a layerwise metric: whole numbers, single precision, odd modules, and mistakes."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import flowmod as fm
from tests.metric.test_layerwise import dense, descent, flat
from tests.networks import classification, regression, samples, tanh_network


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
def test_images_of_whole_numbers_are_numbers(dtype):
    """Products of bytes would wrap at 256."""
    images = np.array([[17, 3, 9, 12], [99, 100, 1, 0]])
    net, targets = fm.Linear(4, 2, key=jax.random.key(0)), np.ones((2, 2))
    fields = []
    for inputs in (images.astype(dtype), images.astype(float)):
        problem = fm.Supervised(net, fm.MeanSquaredError(), inputs, targets)
        metric = fm.LayerwiseMetric.of(problem, mass=0.1)
        fields.append((flat(descent(problem, metric, net)[2]), dense(metric, net)))
    np.testing.assert_allclose(fields[0][0], fields[1][0], rtol=1e-12)
    np.testing.assert_allclose(fields[0][1], fields[1][1], rtol=1e-12)


def test_second_derivatives_of_a_metric_by_its_hessian():
    """The two metrics are one; the square root of one of them is differentiated twice."""
    net, problem = classification(count=5, sizes=(3, 4, 3))
    x, unravel = ravel_pytree(net)
    u = jnp.cos(jnp.arange(x.size, dtype=float))

    def second(output):
        metric = fm.LayerwiseMetric.of(problem, output=output)
        length = lambda x: metric.inner(unravel(x), unravel(u), unravel(u))  # noqa: E731
        return jax.jit(lambda x: jax.jvp(lambda x: jax.grad(length)(x), (x,), (u,))[1])(x)

    np.testing.assert_allclose(
        second(fm.OutputHessian(fm.SoftmaxCrossEntropy())), second(fm.OutputFisher()), rtol=1e-9, atol=1e-11
    )


def test_a_confidently_wrong_sample_in_single_precision():
    """What can't be pushed through, because `1/sqrt p` is no number, takes the long way."""
    inputs, _ = samples(4, 5, 3)
    net = fm.Linear(5, 3, key=jax.random.key(0))
    for height in (60.0, 100.0, 200.0):
        wrong = eqx.tree_at(lambda n: n.bias, net, jnp.asarray([height, 0.0, -height]))
        single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), wrong)
        problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), inputs, jnp.full(4, 2))
        metric = fm.LayerwiseMetric.of(problem, mass=0.1, solver="direct")
        ours, exact = flat(descent(problem, metric, single)[2]), flat(descent(problem, metric, wrong)[2])
        np.testing.assert_allclose(ours, exact, rtol=1e-4, atol=1e-4)


class Keyed(eqx.Module):
    weight: jax.Array
    key: jax.Array

    def __call__(self, z):
        return self.weight * z


def test_modules_with_other_things_in_them(key):
    inputs, targets = jnp.ones((3, 2)), jnp.zeros((3, 2))
    net = fm.wrap(Keyed(jnp.ones(2), key))
    problem = fm.Supervised(net, fm.MeanSquaredError(), inputs, targets)
    vector = descent(problem, fm.LayerwiseMetric.of(problem), net)[2]
    assert np.isfinite(flat(eqx.filter(vector, eqx.is_inexact_array))).all()
    narrow = fm.Linear(2, 2, key=key) >> fm.Pointwise(lambda z: jnp.tanh(z.astype(jnp.float32)))
    with jax.numpy_dtype_promotion("standard"):
        problem = fm.Supervised(narrow, fm.MeanSquaredError(), inputs, targets)
        assert np.isfinite(flat(descent(problem, fm.LayerwiseMetric.of(problem), narrow)[2])).all()


def test_a_curvature_takes_the_targets_of_its_problem():
    net, problem = classification()
    curved = fm.LayerwiseMetric.of(problem, output=fm.OutputHessian(problem.loss), mass=0.1)
    np.testing.assert_allclose(dense(curved, net), dense(fm.LayerwiseMetric.of(problem, mass=0.1), net), atol=1e-12)
    with pytest.raises(ValueError, match="labels from 0 to 2, got 3"):
        fm.LayerwiseMetric.of(problem, output=fm.OutputHessian(problem.loss, problem.targets.at[0].set(3)))(net)


def test_a_useless_solve_is_no_solution():
    """Single precision can't solve this one but with the coordinates of the gradient."""
    net, problem = regression(count=3, sizes=(12, 2))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), net)
    metric = fm.LayerwiseMetric.of(problem, mass=1e-9, solver="direct")
    assert np.isfinite(flat(descent(problem, metric, single)[2])).all()
    apart = descent(lambda y, args: problem(y, args), metric, single)
    assert np.isnan(flat(apart[2])).all()
    with pytest.raises(ValueError, match="inner solve of the metric ended with a relative residual of"):
        fm.simulate(fm.GradientFlow(lambda y, args: problem(y, args), metric), single, 1.0)


def test_the_inner_tolerance_follows_a_controller_too():
    net, problem = classification()
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1, solver="conjugate_gradients"))
    run = fm.simulate(flow, net, 1.0, controller=diffrax.PIDController(rtol=1e-10, atol=1e-12))
    assert run.inner_residual.max() < 1e-11
    assert run.stats["rejected"] <= 5


class InNumpy(eqx.Module):
    weight: jax.Array

    def __call__(self, z):
        return np.tanh(np.asarray(self.weight * z))


def mistakes():
    net, problem = classification()
    x, y = problem.inputs, problem.targets
    loss, of = fm.SoftmaxCrossEntropy, fm.LayerwiseMetric.of
    ones = jnp.ones((3, 2))
    yield "batch beside data", lambda: problem(net, (x, y)), "`args` is a batch, .* but the problem has data of its own"
    yield "text", lambda: fm.Supervised(net, loss(), x, np.array(["a"] * 9)), "`targets` must be an array of numbers"
    yield "column", lambda: fm.Supervised(net, loss(), x, y[:, None]), r"`.ravel\(\)` a column"
    yield "complex", lambda: fm.Supervised(net, loss(), 1j * np.asarray(x), y), "`inputs` must be real"
    yield "complex factor", lambda: fm.OutputFactor(1j * np.ones((2, 3))), "`factor` must be real"
    yield "class", lambda: fm.Supervised(net, loss, x, y), "`loss` must be a loss .* call the class"
    yield "no parameters", lambda: fm.Supervised(fm.Pointwise(jnp.tanh), loss()), "`module` must have parameters"
    yield "numpy", lambda: fm.Supervised(fm.wrap(InNumpy(jnp.ones(2))), fm.MeanSquaredError(), ones, ones), "to NumPy"
    yield "regularizer", lambda: fm.Supervised(net, loss(), x, y, lambda y: 0.0), "`regularizer` must be a function of"
    yield "mass", lambda: of(problem, mass=[0.1, "x"]), "`mass` must be a positive number, a sequence"
    yield "true mass", lambda: of(problem, mass=True), "`mass` must be a positive number, a sequence"
    yield "no mass", lambda: of(problem, mass=None), "`mass` must be a positive number, a sequence"
    yield "tolerance", lambda: of(problem, tolerance="x"), "`tolerance` must be a relative residual"
    yield "problem as module", lambda: fm.LayerwiseMetric(problem), r"use `fm.LayerwiseMetric.of\(problem\)`"
    yield "decay", lambda: fm.WeightDecay(None), "`rate` must be a positive number"
    yield "other tree", lambda: of(problem).sharp(net, net.layers[0]), "`covector` must be a tree like"
    yield "other shape", lambda: of(problem).flat(net, tanh_network(5, 6, 3)), "`vector` must be a tree like"
    scalar = fm.wrap(eqx.nn.Linear(5, "scalar", key=jax.random.key(0)))
    yield "scalar logits", lambda: fm.LayerwiseMetric(scalar, x, fm.OutputFisher())(scalar), "needs at least 2 logits"


@pytest.mark.parametrize(("call", "sentence"), [case[1:] for case in mistakes()], ids=[case[0] for case in mistakes()])
def test_a_mistake_has_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "PyTreeDef" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_metric_of_its_own_samples_beside_batches_of_the_potential():
    net, problem = classification()
    batch = (problem.inputs, problem.targets)
    loose = fm.Supervised(net, fm.SoftmaxCrossEntropy())
    metric = fm.LayerwiseMetric(net, problem.inputs[:4], fm.OutputFisher(), 0.1)
    ours = descent(loose, metric, net, batch)[2]
    gradient = flat(jax.grad(loose)(net, batch))
    np.testing.assert_allclose(flat(ours), -np.linalg.solve(dense(metric, net), gradient), atol=1e-10)


def test_an_array_of_masses_is_one_by_layer():
    net, problem = classification()
    by_array = fm.LayerwiseMetric.of(problem, mass=np.array([0.1, 0.2]))
    np.testing.assert_array_equal(dense(by_array, net), dense(fm.LayerwiseMetric.of(problem, mass=(0.1, 0.2)), net))
    assert fm.Linear(np.int64(4), 3, key=jax.random.key(0)).weight.shape == (3, 4)


def test_a_gradient_that_cancels_near_a_minimum_is_solved_in_single_precision():
    """The loss' slope and the weight decay's are large, their sum is not: what is solved of it is as exact as they."""
    net, problem = regression(count=5, sizes=(6, 5, 3), regularizer=fm.WeightDecay(1e-3))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), net)

    def losses(net):
        optimizer = fm.layerwise(problem, 0.5, fm.FullMetric.of(problem, mass=1e-3))

        def step(carry, _):
            net, state = carry
            updates, state = optimizer.update(None, state, net)
            net = eqx.apply_updates(net, updates)
            return (net, state), problem(net)

        return jax.jit(lambda net: jax.lax.scan(step, (net, optimizer.init(net)), length=200)[1])(net)

    double = losses(net)
    assert double[-1] < 0.2 * double[0]
    np.testing.assert_allclose(losses(single), double, rtol=1e-3)


@pytest.mark.parametrize("clipped", [1.0, 0.01])
def test_a_clipped_gradient_keeps_its_digits_in_single_precision(clipped):
    net, problem = classification(count=5, sizes=(6, 5, 3))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), net)

    def step(net, solve):
        gradient = jax.tree.map(lambda leaf: clipped * leaf, jax.grad(problem)(net))
        return flat(eqx.filter_jit(solve)(net, gradient)).astype(float)

    optimizer = fm.layerwise(problem, 1.0, fm.FullMetric.of(problem, mass=1e-5))
    by_sweep = lambda net, g: optimizer.update(g, optimizer.init(net), net)[0]  # noqa: E731
    general = lambda net, g: fm.FullMetric.of(problem, mass=1e-7).sharp(net, g)  # noqa: E731
    exact = step(net, by_sweep)
    assert np.linalg.norm(step(single, by_sweep) - exact) < 5e-3 * np.linalg.norm(exact)
    assert not np.linalg.norm(step(single, general) + exact) < 0.05 * np.linalg.norm(exact)  # negative control


def test_equal_modules_with_index_arrays_are_told_apart():
    class Permuted(eqx.Module):
        linear: eqx.nn.Linear
        order: jax.Array

        def __call__(self, z):
            return self.linear(z[self.order])

    def made():
        return fm.wrap(Permuted(eqx.nn.Linear(6, 3, key=jax.random.key(0)), jnp.asarray([2, 1, 0, 3, 4, 5])))

    one, other = made(), made()
    inputs, labels = samples(4, 6, 3)
    problem, metric = fm.Supervised(one, fm.SoftmaxCrossEntropy()), fm.LayerwiseMetric(other, mass=0.1)
    vector = fm.steepest_descent(problem, metric, one, (inputs, labels))[2]
    covector = jax.grad(problem, allow_int=True)(one, (inputs, labels))
    gradient = eqx.filter(covector, eqx.is_inexact_array)
    np.testing.assert_allclose(flat(vector), -flat(metric.sharp(one, gradient, (inputs, labels))), rtol=1e-10)
