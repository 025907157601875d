"""Modules: what they compute, how costates come back through them, and what they refuse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.networks import tanh_network


def test_series_is_flat_and_in_order(key):
    a, b, c = fm.Linear(3, 4, key=key), fm.Pointwise(jnp.tanh), fm.Linear(4, 2, key=key)
    for net in (a >> b >> c, a >> (b >> c), fm.Series((a, b, c))):
        assert net.layers == (a, b, c)
        assert isinstance(net, fm.AbstractModule)
    z = jnp.asarray([0.3, -1.0, 2.0])
    by_hand = c.weight @ np.tanh(a.weight @ z + a.bias) + c.bias
    np.testing.assert_allclose((a >> b >> c)(z), by_hand, rtol=1e-14)


def test_linear_has_the_shapes_that_users_rely_on(key):
    layer = fm.Linear(5, 3, key=key)
    assert layer.weight.shape == (3, 5)
    assert layer.bias.shape == (3,)
    assert float(jnp.abs(layer.weight).max()) <= 5**-0.5
    plain = fm.Linear(5, 3, use_bias=False, key=key)
    assert plain.bias is None
    assert len(jax.tree.leaves(plain)) == 1
    np.testing.assert_allclose(plain(jnp.ones(5)), plain.weight.sum(axis=1), rtol=1e-13)


NETS = {
    "series": lambda: tanh_network(5, 4, 3),
    "without biases": lambda: fm.Linear(5, 3, use_bias=False, key=jax.random.key(0)) >> fm.Pointwise(jax.nn.softplus),
    "wrapped": lambda: fm.wrap(eqx.nn.MLP(5, 3, 4, 2, key=jax.random.key(1))),
    "wrapped inside": lambda: (
        fm.Linear(5, 4, key=jax.random.key(2)) >> fm.wrap(eqx.nn.LayerNorm(4)) >> fm.Pointwise(jax.nn.softmax)
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_costates_come_back_as_jax_pulls_them(name):
    """For a bundle of costates: those at the inputs, and the gradient in every parameter."""
    net = NETS[name]()
    inputs = jax.random.normal(jax.random.key(7), (6, 5))

    @eqx.filter_jit
    def ours(net, inputs):
        outputs, pull = net.linearise(inputs)
        costates = jnp.cos(jnp.arange(6.0 * 2 * outputs.shape[1])).reshape(6, 2, -1)
        factors, back = pull(costates)
        return outputs, costates, [factor.to_dense() for factor in factors], back

    outputs, costates, factors, back = ours(net, inputs)
    np.testing.assert_allclose(outputs, jax.vmap(net)(inputs), atol=1e-13)
    leaves, rest = eqx.partition(net, eqx.is_inexact_array)

    @jax.jit
    def reference(leaves, z, rows):
        _, pull = jax.vjp(lambda leaves, z: eqx.combine(leaves, rest)(z), leaves, z)
        return jax.vmap(pull)(rows)

    for n in range(6):
        by_leaf, by_input = reference(leaves, inputs[n], costates[n])
        np.testing.assert_allclose(back[n], by_input, atol=1e-12)
        rows = np.concatenate([np.asarray(leaf).reshape(2, -1) for leaf in jax.tree.leaves(by_leaf)], axis=1)
        np.testing.assert_allclose(np.concatenate([f[2 * n : 2 * n + 2] for f in factors], axis=1), rows, atol=1e-12)


def test_a_function_of_the_whole_sample_is_exact_too():
    """`Pointwise` does not trust its name: a softmax mixes the numbers of a sample."""
    inputs = jnp.asarray([[0.2, -0.4, 1.0]])
    _, pull = fm.Pointwise(jax.nn.softmax).linearise(inputs)
    _, back = pull(jnp.eye(3)[None])
    np.testing.assert_allclose(back[0], jax.jacobian(jax.nn.softmax)(inputs[0]), atol=1e-15)


def test_a_network_is_a_state_of_arrays_alone():
    net = tanh_network(3, 4, 2)
    assert all(eqx.is_inexact_array(leaf) for leaf in jax.tree.leaves(net))
    assert hash(jax.tree.structure(net)) == hash(jax.tree.structure(tanh_network(3, 4, 2, seed=9)))


class Branching(eqx.Module):
    weight: jax.Array

    def __call__(self, z):
        return self.weight * z if z[0] > 0 else z


def test_refusals(key):
    layer = fm.Linear(3, 4, key=key)
    with pytest.raises(ValueError, match=r"`module` must be a module of flowmod, got MLP. Wrap .* `fm.wrap\(module\)`"):
        layer >> eqx.nn.MLP(4, 2, 3, 1, key=key)
    with pytest.raises(ValueError, match="`layers` must be a module of flowmod, got PjitFunction"):
        fm.Series((layer, jnp.tanh))
    with pytest.raises(ValueError, match="`n_in` must be a positive integer, got 0"):
        fm.Linear(0, 4, key=key)
    with pytest.raises(ValueError, match=r"`n_out` must be a positive integer, got 2.0"):
        fm.Linear(3, 2.0, key=key)
    with pytest.raises(ValueError, match=r"`Linear\(3, 4\)` needs samples of shape \(3,\), got \(5,\)"):
        layer(jnp.ones(5))
    with pytest.raises(ValueError, match="`fn` must be a function of"):
        fm.Pointwise("tanh")
    with pytest.raises(ValueError, match="`fn` must be a hashable function without arrays of its own, got MLP"):
        fm.Pointwise(eqx.nn.MLP(4, 2, 3, 1, key=key))
    with pytest.raises(ValueError, match="`module` must be an Equinox module that maps one sample, got PjitFunction"):
        fm.wrap(jnp.tanh)
    with pytest.raises(ValueError, match="`module` Lambda has no float arrays"):
        fm.wrap(eqx.nn.Lambda(jnp.tanh))


def test_python_control_flow_on_arrays_is_named():
    net = fm.wrap(Branching(jnp.ones(2)))
    np.testing.assert_array_equal(net(jnp.ones(2)), jnp.ones(2))  # a call with numbers is fine
    with pytest.raises(ValueError, match="`module` Branching branches in Python on the value of an array"):
        fm.Supervised(net, fm.MeanSquaredError(), jnp.ones((3, 2)), jnp.ones((3, 2)))
