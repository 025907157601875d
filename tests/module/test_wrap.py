"""`fm.wrap`: frozen parts, precisions, and what is no function of parameters and one sample."""

import copy

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.linalg import ArrangedRows, KhatriRaoRows


@pytest.fixture
def mlp(key):
    return eqx.nn.MLP(5, 3, 4, 2, activation=jnp.tanh, key=key)


def data(count=7):
    return jax.random.normal(jax.random.key(3), (count, 5)), jnp.arange(count) % 3


def descent(net):
    problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), *data())
    metric = fm.LayerwiseMetric.of(problem, mass=0.1)
    return eqx.filter_jit(lambda net: fm.steepest_descent(problem, metric, net)[2])(net)


def test_frozen_parts_are_no_parameters(mlp):
    """The blocks that are left have the step that they have in the whole model: blocks do not know of each other."""
    net = fm.wrap(mlp, frozen=lambda model: (model.layers[0], model.layers[2].bias))
    assert [leaf.shape for leaf in jax.tree.leaves(eqx.filter(net, eqx.is_array))] == [(4, 4), (4,), (3, 4)]
    assert eqx.tree_equal(net.whole, mlp)
    inputs, _ = data()
    np.testing.assert_allclose(jax.vmap(net)(inputs), jax.vmap(mlp)(inputs), rtol=1e-14)
    ours, all_free = descent(net), descent(fm.wrap(mlp))
    for name in ("weight", "bias"):
        one, other = (getattr(step.module.layers[1], name) for step in (ours, all_free))
        np.testing.assert_allclose(one, other, rtol=1e-10)
    assert ours.module.layers[0].weight is None


def test_a_model_that_is_frozen_twice_alike_is_one_program(mlp):
    def first(model):
        return model.layers[0]

    one, two = fm.wrap(mlp, frozen=first), fm.wrap(mlp, frozen=first)
    assert jax.tree.structure(one) == jax.tree.structure(two)
    other = eqx.tree_at(lambda model: model.layers[0].bias, mlp, jnp.ones(4))
    assert jax.tree.structure(one) != jax.tree.structure(fm.wrap(other, frozen=first))
    assert jax.tree.structure(fm.wrap(mlp)) == jax.tree.structure(fm.wrap(other))


def test_a_frozen_model_can_be_simulated(mlp):
    net = fm.wrap(mlp, frozen=lambda model: model.layers[0])
    problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), *data())
    trajectory = fm.simulate(fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=1.0)), net, 0.1, dense=True)
    end = trajectory(0.1)
    assert problem(end) < problem(net)
    np.testing.assert_array_equal(end.whole.layers[0].weight, mlp.layers[0].weight)


class Mixed(eqx.Module):
    """A layer in single precision inside of one in double."""

    single: eqx.nn.Linear
    double: eqx.nn.Linear

    def __call__(self, z):
        return self.double(jnp.tanh(self.single(z.astype(jnp.float32)).astype(float)))


def test_precisions_may_differ(key):
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), eqx.nn.Linear(5, 4, key=key))
    net = fm.wrap(Mixed(single, eqx.nn.Linear(4, 3, key=key)))
    inputs, _ = data(4)
    outputs, pull = net.linearise(inputs)
    assert outputs.dtype == jnp.float64
    costates = jnp.sin(jnp.arange(24.0)).reshape(4, 2, 3)
    factors, _ = pull(costates)
    assert [type(factor) for factor in factors] == [ArrangedRows, KhatriRaoRows]
    widened = fm.wrap(
        eqx.nn.Sequential(
            [jax.tree.map(lambda leaf: leaf.astype(float), single), eqx.nn.Lambda(jnp.tanh), net.module.double]
        )
    )
    wide, _ = widened.linearise(inputs)[1](costates)
    for factor, reference in zip(factors, wide, strict=True):
        np.testing.assert_allclose(factor.to_dense(), reference.to_dense(), atol=1e-6)
        assert factor.to_dense().dtype == factor.mv(factor.rmv(jnp.ones((4, 2)))).dtype == jnp.float64
    assert [leaf.dtype for leaf in factors[0].rmv(jnp.ones((4, 2)))] == [jnp.float32] * 2


def test_a_model_in_single_precision_stays_in_it(mlp):
    net = fm.wrap(jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if eqx.is_array(leaf) else leaf, mlp))
    step, wide = descent(net), descent(fm.wrap(mlp))
    for leaf, other in zip(*(jax.tree.leaves(eqx.filter(tree, eqx.is_array)) for tree in (step, wide)), strict=True):
        assert leaf.dtype == jnp.float32
        np.testing.assert_allclose(leaf, other, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_for_the_euclidean_metric_alone(mlp, dtype):
    net = fm.wrap(jax.tree.map(lambda leaf: leaf.astype(dtype) if eqx.is_array(leaf) else leaf, mlp))
    problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), *data())
    assert fm.steepest_descent(problem, fm.Euclidean(), net)[2].module.layers[0].weight.dtype == dtype
    name = jnp.dtype(dtype).name
    with pytest.raises(ValueError, match=f"float32 or float64 for a metric, got {name} at 'module.layers.0.weight'"):
        fm.steepest_descent(problem, fm.LayerwiseMetric.of(problem, mass=0.1), net)
    halved = fm.wrap(Applied(mlp, lambda mlp, z: mlp(z).astype(dtype)))
    with pytest.raises(ValueError, match=f"got {name} in its output"):
        descent(halved)


class Applied(eqx.Module):
    """A function of a model and a sample."""

    model: eqx.Module
    fn: object = eqx.field(static=True)

    def __call__(self, z):
        return self.fn(self.model, z)


def test_padding_tokens_move_no_entry():
    """The fill value stands where a token has no entry; the gradient must not go to the last one instead."""
    net = fm.wrap(Applied(Rows(jnp.arange(6.0).reshape(3, 2)), lambda table, z: table(z).sum(0)))
    tokens = jnp.asarray([[0, 3], [1, 0], [3, 3]])
    problem = fm.Supervised(net, fm.MeanSquaredError(), tokens, jnp.ones((3, 2)))
    gradient = fm.steepest_descent(problem, fm.LayerwiseMetric.of(problem, mass=0.1), net)[1].module.model.table
    np.testing.assert_allclose(gradient, eqx.filter_grad(problem)(net).module.model.table, atol=1e-14)
    assert not gradient[2].any()
    assert gradient[:2].any()


class Rows(eqx.Module):
    table: jax.Array

    def __call__(self, z):
        return jnp.take(self.table, z, axis=0, fill_value=0.0)


def test_what_does_not_fit_is_said_in_a_sentence(mlp, key):
    pair = fm.wrap(Applied(mlp, lambda mlp, z: (mlp(z), z)))
    inputs, targets = data()
    for use in (
        lambda: pair.plan(inputs[0]),
        lambda: fm.LayerwiseMetric(pair, inputs)(pair),
        lambda: (pair >> fm.Linear(3, 2, key=key))(inputs[0]),
        lambda: fm.Supervised(pair, fm.SoftmaxCrossEntropy(), inputs, targets),
    ):
        with pytest.raises(ValueError, match="`module` must return one array per sample, got tuple from Applied"):
            use()
    for use in (fm.wrap(mlp), fm.wrap(mlp).plan):
        with pytest.raises(
            ValueError, match=r"`module` MLP can't map a sample of shape \(6,\) \(dot_general"
        ) as caught:
            use(jnp.ones(6))
        assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(ValueError, match=r"^`Linear\(5, 3\)` needs samples of shape \(5,\), got \(6,\)"):
        fm.wrap(Applied(fm.Linear(5, 3, key=key), lambda linear, z: linear(z)))(jnp.ones(6))
    masked = fm.wrap(Applied(mlp, lambda mlp, z: mlp(z[z > 0])))
    with pytest.raises(ValueError, match="`module` Applied picks the entries of an array by a mask"):
        masked.plan(inputs[0])


def test_a_copy_of_frozen_arrays_is_another_module(mlp):
    net = fm.wrap(mlp, frozen=lambda model: model.layers[0])
    problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), *data())
    for other in (copy.deepcopy(net), fm.wrap(copy.deepcopy(mlp), frozen=lambda model: model.layers[0])):
        with pytest.raises(ValueError, match="a Wrapped with other parts that are not trained: use the module that"):
            problem(other)
    with pytest.raises(ValueError, match=r"got a MLP with arrays of the same shapes: pass `fm.wrap\(model\)`"):
        fm.Supervised(fm.wrap(mlp), fm.SoftmaxCrossEntropy(), *data())(mlp)


def test_refusals(mlp, key):
    with pytest.raises(ValueError, match="`frozen` must be a function that picks parts of the module, got tuple"):
        fm.wrap(mlp, frozen=(0,))
    with pytest.raises(ValueError, match="`frozen` leaves nothing to train of MLP"):
        fm.wrap(mlp, frozen=lambda model: model)
    with pytest.raises(ValueError, match="`frozen` parts must be known numbers"):
        eqx.filter_jit(lambda model: fm.wrap(model, frozen=lambda model: model.layers[0])(jnp.ones(5)))(mlp)
    dropping = eqx.nn.Sequential([eqx.nn.Linear(5, 4, key=key), eqx.nn.Dropout(0.5)])
    with pytest.raises(ValueError, match=r"drops numbers at random.*: wrap `eqx.nn.inference_mode\(module\)`"):
        fm.wrap(dropping)
    assert fm.wrap(eqx.nn.inference_mode(dropping))(jnp.ones(5)).shape == (4,)
    with pytest.raises(ValueError, match=r"keeps a state from call to call.*: use `eqx.nn.GroupNorm`"):
        fm.wrap(eqx.nn.BatchNorm(3, axis_name="batch", mode="batch"))


class Handing(eqx.Module):
    weight: jax.Array

    def __call__(self, z):
        return self.weight * np.sum(np.asarray(z))


def test_numpy_in_a_model_is_named_where_rows_are_asked_for(key):
    with pytest.raises(ValueError, match="`module` Handing hands an array to NumPy"):
        fm.wrap(Handing(jnp.ones(2))).linearise(jnp.ones((3, 2)))
