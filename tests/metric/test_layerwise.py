"""The layerwise metric against an independent oracle, the whole Jacobian in NumPy, and itself by other routes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import flowmod as fm
from tests.networks import (
    classification,
    columns_by_layer,
    naive_blocks,
    regression,
    samples,
    softmax_factor,
    tanh_network,
)


# Compiled as a whole: call by call JAX would compile every operation on its own, which takes longer.
def descent(potential, metric, y, args=None):
    # Closed over and not passed: as two arguments, nothing tells that potential and metric have one data set.
    return eqx.filter_jit(lambda y, args: fm.steepest_descent(potential, metric, y, args))(y, args)


dense = eqx.filter_jit(lambda metric, y, args=None: metric(y, args).as_matrix())
rows = eqx.filter_jit(lambda metric, y: [factor.to_dense() for factor in metric.factors(y)])
sharp = eqx.filter_jit(lambda metric, y, covector: metric.sharp(y, covector))
gradient_of = eqx.filter_jit(lambda potential, y: jax.grad(potential)(y))


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


@pytest.fixture
def example(oracle):
    """Oracle o01: two layers, one sample, a factor at the outputs and a mass for each number."""
    o = oracle("o01_layerwise_two_layer")
    i = {name: jnp.asarray(value) for name, value in o["inputs"].items()}
    net = tanh_network(3, 4, 2)
    places = lambda n: (n.layers[0].weight, n.layers[0].bias, n.layers[2].weight, n.layers[2].bias)  # noqa: E731
    net = eqx.tree_at(places, net, [i["W1"], i["b1"], i["W2"], i["b2"]])
    D1, D2 = i["D1"], i["D2"]
    mass = eqx.tree_at(places, net, [D1[:12].reshape(4, 3), D1[12:], D2[:8].reshape(2, 4), D2[8:]])
    problem = fm.Supervised(net, fm.MeanSquaredError(), i["x"][None], i["t"][None])
    return net, problem, mass, fm.OutputFactor(i["L_out"]), o


@pytest.mark.parametrize("solver", ["direct", "conjugate_gradients"])
def test_factors_gradient_and_step_of_the_oracle(example, solver):
    net, problem, mass, output, o = example
    metric = fm.LayerwiseMetric.of(problem, output=output, mass=mass, solver=solver)
    for name, factor in zip(("K1", "K2"), rows(metric, net), strict=True):
        np.testing.assert_allclose(factor, o["results"][name], rtol=0, atol=1e-12)
    value, covector, vector = descent(problem, metric, net)
    assert float(value) == pytest.approx(o["results"]["loss"], abs=1e-14)
    for index, name in ((0, "1"), (2, "2")):
        np.testing.assert_allclose(flat(covector.layers[index]), o["results"]["g" + name], atol=1e-12)
        step = o["inputs"]["eta"] * flat(vector.layers[index])
        np.testing.assert_allclose(step, o["results"]["dw" + name], rtol=0, atol=1e-10)
        length = np.sqrt(step @ np.asarray(dense(metric, net))[_block(net, index)] @ step)
        assert length == pytest.approx(o["results"][f"metric_norm_step{name}"], rel=1e-10)


def _block(net, index):
    columns = dict(zip((0, 2), columns_by_layer(net), strict=True))[index]
    return np.ix_(columns, columns)


MASSES = {
    "number": (0.3, lambda net: np.full(flat(net).size, 0.3)),
    "by layer": (
        (0.3, 0.7, 1.1),
        lambda net: np.concatenate(
            [np.full(len(c), m) for c, m in zip(columns_by_layer(net), (0.3, 0.7, 1.1), strict=True)]
        ),
    ),
    "by leaf": (
        lambda net: jax.tree.map(lambda leaf: 0.2 + 0.1 * leaf.ndim, net),
        lambda net: flat(jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.2 + 0.1 * leaf.ndim), net)),
    ),
    "by entry": (
        lambda net: jax.tree.map(lambda leaf: 0.5 + jnp.abs(jnp.sin(leaf * 40)), net),
        lambda net: flat(jax.tree.map(lambda leaf: 0.5 + jnp.abs(jnp.sin(leaf * 40)), net)),
    ),
}


@pytest.mark.parametrize("loss", ["squared", "softmax"])
@pytest.mark.parametrize("mass", MASSES)
@pytest.mark.parametrize("solver", ["direct", "conjugate_gradients"])
def test_three_layers_and_a_batch_equal_the_whole_jacobian(loss, mass, solver):
    if loss == "squared":
        net, problem = regression(sizes=(5, 4, 3, 2), regularizer=fm.WeightDecay(0.3))
        factor = lambda z: np.eye(2)  # noqa: E731
    else:
        net, problem = classification(sizes=(5, 4, 3, 3), regularizer=fm.WeightDecay(0.3))
        factor = softmax_factor
    given, diagonal = MASSES[mass]
    given = given(net) if callable(given) else given
    metric = fm.LayerwiseMetric.of(problem, mass=given, solver=solver, tolerance=1e-13)
    K = naive_blocks(net, problem.inputs, factor)
    M = np.diag(diagonal(net))
    for columns, ours in zip(columns_by_layer(net), rows(metric, net), strict=True):
        # A factor is one up to a rotation of its rows.
        np.testing.assert_allclose(ours.T @ ours, K[:, columns].T @ K[:, columns], rtol=0, atol=1e-10)
        M[np.ix_(columns, columns)] += K[:, columns].T @ K[:, columns]
    np.testing.assert_allclose(dense(metric, net), M, rtol=0, atol=1e-10)

    gradient = flat(gradient_of(problem, net))
    value, covector, vector = descent(problem, metric, net)
    np.testing.assert_allclose(value, problem(net), rtol=1e-13)
    np.testing.assert_allclose(flat(covector), gradient, atol=1e-12)
    np.testing.assert_allclose(flat(vector), -np.linalg.solve(M, gradient), rtol=0, atol=1e-10)
    np.testing.assert_allclose(flat(sharp(metric, net, covector)), np.linalg.solve(M, gradient), atol=1e-10)
    np.testing.assert_allclose(flat(metric.flat(net, covector)), M @ gradient, atol=1e-10)
    factorised = eqx.filter_jit(lambda y, g: metric(y).factorise()(g))(net, covector)
    np.testing.assert_allclose(flat(factorised), np.linalg.solve(M, gradient), atol=1e-10)
    # Negative control: without the 1/sqrt N the metric would be another one.
    assert np.abs(K * np.sqrt(len(problem.inputs)) - K).max() > 0.1


def test_the_fused_sweep_is_another_route_than_gradient_and_sharp():
    net, problem = classification(regularizer=fm.WeightDecay(0.1))
    metric = fm.LayerwiseMetric.of(problem, mass=0.05)
    fused = descent(problem, metric, net)
    apart = descent(lambda y, args: problem(y, args), metric, net)
    for ours, theirs in zip(fused, apart, strict=True):
        np.testing.assert_allclose(flat(ours), flat(theirs), rtol=1e-10, atol=1e-13)
    assert np.any(flat(fused[2]) != flat(apart[2]))


def test_only_a_shared_module_on_shared_data_is_fused(monkeypatch):
    net, problem = classification()
    counted = []
    monkeypatch.setattr(
        "flowmod.metric.descent.layerwise_descent", lambda *a: counted.append(a) or pytest.fail("fused")
    )
    other = fm.LayerwiseMetric(net, jnp.asarray(problem.inputs) + 1, fm.OutputFisher(), 0.1)
    fm.steepest_descent(problem, other, net)
    fm.GradientFlow(problem, other).vector_field(0.0, net)
    assert not counted
    shared = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem))
    for run in (shared.vector_field, jax.jit(lambda t, y, flow=shared: flow.vector_field(t, y))):
        with pytest.raises(pytest.fail.Exception, match="fused"):
            run(0.0, net)
    with pytest.raises(pytest.fail.Exception, match="fused"):  # also where the flow itself is traced
        eqx.filter_jit(lambda flow, y: flow.vector_field(0.0, y))(shared, net)


def test_a_metric_of_other_data_is_another_metric():
    net, problem = classification()
    half = fm.LayerwiseMetric(net, problem.inputs[:4], fm.OutputFisher(), 0.1)
    ours = descent(problem, half, net)[2]
    gradient = gradient_of(problem, net)
    np.testing.assert_allclose(flat(ours), -np.linalg.solve(dense(half, net), flat(gradient)), atol=1e-10)


def test_outputs_of_a_loss_by_its_hessian_and_by_its_likelihood():
    net, problem = classification()
    fisher = fm.LayerwiseMetric.of(problem, mass=0.1)
    hessian = fm.LayerwiseMetric.of(problem, output=fm.OutputHessian(problem.loss, problem.targets), mass=0.1)
    np.testing.assert_allclose(dense(fisher, net), dense(hessian, net), atol=1e-12)
    own = fm.LayerwiseMetric.of(problem, output=fm.OutputFactor(lambda z: jnp.asarray(2.0) * jnp.eye(3)), mass=0.1)
    identity = fm.LayerwiseMetric.of(problem, output=fm.OutputIdentity(), mass=0.1)
    excess = np.asarray(dense(own, net)) - 0.1 * np.eye(flat(net).size)
    np.testing.assert_allclose(excess, 4 * (np.asarray(dense(identity, net)) - 0.1 * np.eye(flat(net).size)))
    # And its derivative exists, where eigenvalues are equal: at a network that tells no classes apart.
    level = jax.tree.map(jnp.zeros_like, net)
    ones = jax.tree.map(jnp.ones_like, net)
    both = [
        jax.jvp(lambda y, metric=metric: metric.flat(y, ones), (level,), (ones,))[1] for metric in (fisher, hessian)
    ]
    assert np.isfinite(flat(both[1])).all()
    np.testing.assert_allclose(flat(both[0]), flat(both[1]), atol=1e-10)


def test_coordinates_of_the_costate_in_the_rows_of_the_factor():
    z = jnp.asarray([[0.3, -2.0, 1.0], [30.0, -30.0, 0.0]])
    loss, labels = fm.SoftmaxCrossEntropy(), jnp.asarray([1, 2])
    costates = jax.vmap(jax.grad(loss))(z, labels)
    e, remainder = fm.OutputFisher().coordinates(loss, z, costates)
    np.testing.assert_array_equal(remainder, 0)
    rows = fm.OutputFisher().rows(z, None)
    np.testing.assert_allclose(jnp.einsum("nco,nc->no", rows, e), costates, atol=1e-12)
    assert fm.OutputFisher().coordinates(fm.MeanSquaredError(), z, costates) is None


def test_a_small_mass_costs_no_accuracy_on_the_fused_path():
    """In single precision the general form of Woodbury has lost every digit where pushing through has most of them."""
    net, problem = regression(count=4, sizes=(6, 8, 2))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), net)
    metric = fm.LayerwiseMetric.of(problem, mass=1e-6, solver="direct")
    exact = flat(descent(problem, metric, net)[2])

    def error(potential):
        return np.linalg.norm(flat(descent(potential, metric, single)[2]) - exact) / np.linalg.norm(exact)

    assert error(problem) < 1e-5
    assert np.isnan(error(lambda y, args: problem(y, args)))  # refused: its residual is no rounding any more


@pytest.mark.parametrize("depth", [1, 3])
def test_a_wrapped_mlp_equals_our_layers(depth):
    sizes = [5] + [4] * depth + [3]
    mlp = eqx.nn.MLP(5, 3, 4, depth, activation=jnp.tanh, key=jax.random.key(5))
    ours = tanh_network(*sizes)
    arrays = lambda layers: [array for layer in layers for array in (layer.weight, layer.bias)]  # noqa: E731
    ours = eqx.tree_at(lambda n: arrays(n.layers[::2]), ours, arrays(mlp.layers))
    inputs, labels = samples(6, 5, 3)
    fields = []
    for net in (ours, fm.wrap(mlp)):
        problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), inputs, labels)
        metric = fm.LayerwiseMetric.of(problem, mass=tuple(0.1 * (i + 1) for i in range(depth + 1)))
        assert len(metric.layers) == depth + 1
        value, covector, vector = descent(problem, metric, net)
        iterated = fm.LayerwiseMetric.of(problem, mass=metric.mass[0][0], solver="conjugate_gradients", tolerance=1e-14)
        fields.append((value, flat(covector), flat(vector), flat(sharp(iterated, net, covector))))
    assert fm.wrap(ours) is ours
    for one, other in zip(*fields, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_blocks_are_the_submodules_that_own_arrays():
    class Scaled(eqx.Module):
        first: eqx.nn.Linear
        scale: tuple
        second: eqx.nn.Linear
        offset: jax.Array

        def __call__(self, z):
            return self.second(jnp.tanh(self.scale[0] * self.first(z) + self.scale[1])) + self.offset

    k1, k2 = jax.random.split(jax.random.key(0))
    scale = (jnp.asarray(1.5), jnp.asarray([0.1, 0.2, 0.3]))
    inner = Scaled(eqx.nn.Linear(5, 3, key=k1), scale, eqx.nn.Linear(3, 2, use_bias=False, key=k2), jnp.ones(2))
    net = fm.wrap(inner)
    inputs, targets = samples(6, 5)
    problem = fm.Supervised(net, fm.MeanSquaredError(), inputs, targets)
    metric = fm.LayerwiseMetric.of(problem, mass=0.4)
    assert metric.layers == ("module.first", "module", "module.second")
    K = naive_blocks(net, inputs, lambda z: np.eye(2))
    # In flattening order: first.weight, first.bias, scale[0], scale[1], second.weight, offset.
    spans = np.split(np.arange(K.shape[1]), np.cumsum([15, 3, 1, 3, 6]))
    blocks = [np.concatenate(spans[:2]), np.concatenate([spans[2], spans[3], spans[5]]), spans[4]]
    M = 0.4 * np.eye(K.shape[1])
    for columns in blocks:
        M[np.ix_(columns, columns)] += K[:, columns].T @ K[:, columns]
    np.testing.assert_allclose(dense(metric, net), M, atol=1e-12)
    gradient = gradient_of(problem, net)
    np.testing.assert_allclose(flat(sharp(metric, net, gradient)), np.linalg.solve(M, flat(gradient)), atol=1e-10)


def test_batches_come_through_args():
    net, problem = classification()
    loose = fm.Supervised(net, fm.SoftmaxCrossEntropy())
    batch = (problem.inputs, problem.targets)
    for mass in (0.1, 2.0):
        fixed = descent(problem, fm.LayerwiseMetric.of(problem, mass=mass), net)
        given = descent(loose, fm.LayerwiseMetric.of(loose, mass=mass), net, batch)
        for one, other in zip(fixed, given, strict=True):
            np.testing.assert_allclose(flat(one), flat(other), rtol=1e-12, atol=1e-15)
    curved = fm.LayerwiseMetric(net, output=fm.OutputHessian(fm.SoftmaxCrossEntropy()), mass=0.1)
    np.testing.assert_allclose(
        dense(curved, net, batch), dense(fm.LayerwiseMetric.of(problem, mass=0.1), net), atol=1e-12
    )


def test_derivatives_of_a_solve_take_both_routes():
    net, problem = classification(count=4, sizes=(3, 3, 3))
    direction = jax.tree.map(lambda leaf: jnp.cos(leaf * 9), net)

    def field(solver):
        metric = fm.LayerwiseMetric.of(problem, mass=0.3, solver=solver, tolerance=1e-14)
        flow = fm.GradientFlow(problem, metric)
        along = jax.jit(lambda y, d: jax.jvp(lambda x: flow.vector_field(0.0, x), (y,), (d,))[1])(net, direction)
        back = jax.jit(jax.grad(lambda y: jnp.sum(ravel_pytree(flow.vector_field(0.0, y))[0] ** 2)))(net)
        return flat(along), flat(back)

    for one, other in zip(field("direct"), field("conjugate_gradients"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-11)
    step = 1e-6
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.3))
    moved = [jax.tree.map(lambda y, d, s=s: y + s * d, net, direction) for s in (step, -step)]
    slope = (flat(flow.vector_field(0.0, moved[0])) - flat(flow.vector_field(0.0, moved[1]))) / (2 * step)
    np.testing.assert_allclose(field("direct")[0], slope, rtol=1e-6, atol=1e-8)


def test_the_operator_is_one_of_lineax(example):
    import lineax as lx

    net, problem, mass, output, _ = example
    metric = fm.LayerwiseMetric.of(problem, output=output, mass=mass)
    gradient = gradient_of(problem, net)
    solution = lx.linear_solve(metric(net), gradient, lx.AutoLinearSolver(well_posed=True))
    np.testing.assert_allclose(flat(solution.value), flat(sharp(metric, net, gradient)), atol=1e-12)
    report = fm.check_metric(metric, net)
    assert report.symmetric
    assert report.positive
    assert report.round_trip < 1e-10


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"mass": 0.0}, r"`mass` must be positive, got 0 in layer 'layers.0'"),
        ({"mass": (0.1, -1.0)}, r"`mass` must be positive, got -1 in layer 'layers.2'"),
        (
            {"mass": (0.1, 0.2, 0.3)},
            r"`mass` must have a number for each of the 2 layers .*layers.0, layers.2.*, got 3",
        ),
        ({"mass": {"a": 1.0}}, "`mass` must be a positive number, a sequence"),
        ({"mass": "heavy"}, "`mass` must be a positive number, a sequence"),
        ({"mass": float("nan")}, "`mass` must be positive, got nan"),
        (
            {"solver": "magic"},
            "`solver` must be one of auto, direct, rows, parameters, conjugate_gradients, got 'magic'",
        ),
        ({"tolerance": 0.0}, "`tolerance` must be a relative residual between 0 and 1, got 0"),
        ({"output": "fisher"}, r"`output` must be a metric of outputs.*got 'fisher'"),
    ],
)
def test_bad_settings(settings, sentence):
    _, problem = classification()
    with pytest.raises(ValueError, match=sentence):
        fm.LayerwiseMetric.of(problem, **settings)


def test_a_mass_array_of_another_shape():
    net, problem = classification()
    mass = jax.tree.map(lambda leaf: jnp.ones(leaf.shape[:1]), net)
    with pytest.raises(ValueError, match=r"`mass` must be a number or an array of shape \(4, 5\) in layer 'layers.0'"):
        fm.LayerwiseMetric.of(problem, mass=mass)


def test_a_metric_made_for_another_module():
    _, problem = classification()
    other = tanh_network(5, 6, 3)
    metric = fm.LayerwiseMetric.of(problem)
    for call in (lambda: metric(other), lambda: metric.sharp(other, other), lambda: problem(other)):
        with pytest.raises(
            ValueError, match=r"`params` must be the parameters of the module that this .* was made for"
        ):
            call()


def test_errors_of_output_metrics():
    net, problem = classification()
    with pytest.raises(ValueError, match=r"`likelihood` must be one of categorical, .*got 'student'"):
        fm.OutputFisher("student")
    with pytest.raises(ValueError, match="`factor` must be a matrix, got shape"):
        fm.OutputFactor(jnp.ones(3))
    with pytest.raises(ValueError, match=r"`factor` must have 3 columns.*got shape \(2, 2\)"):
        fm.LayerwiseMetric.of(problem, output=fm.OutputFactor(jnp.eye(2)))(net)
    with pytest.raises(ValueError, match="`loss` must be a loss"):
        fm.OutputHessian(jnp.tanh)
    with pytest.raises(ValueError, match="`OutputHessian` needs `targets`"):
        fm.LayerwiseMetric(net, problem.inputs, fm.OutputHessian(problem.loss))(net)
    with pytest.raises(ValueError, match=r"`problem` must be a `fm.Supervised`"):
        fm.LayerwiseMetric.of(lambda y, args: 0.0)
