"""Repeated and shared layers against the series they stand for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.linalg import JoinedRows, PositionRows, RepeatedRows
from tests.linearisation import check_linearisation


def layers(make, count):
    return [make(key) for key in jax.random.split(jax.random.key(6), count)]


def plain(key):
    return fm.Linear(3, 3, key=key) >> fm.Pointwise(jnp.tanh)


def residual(key):
    one, other = jax.random.split(key)
    return fm.Residual(fm.Linear(3, 4, key=one) >> fm.Pointwise(jnp.tanh) >> fm.Linear(4, 3, use_bias=False, key=other))


def normalised(key):
    return fm.Residual(fm.LayerNorm(3) >> fm.wrap(fm.Linear(3, 3, key=key)) >> fm.Pointwise(jax.nn.silu))


def convolution(key):
    return fm.Conv1d(3, 3, 3, padding=1, key=key) >> fm.Pointwise(jnp.tanh)


BLOCKS = {
    "plain": (plain, (3,)),
    "residual": (residual, (3,)),
    "normalised": (normalised, (3,)),
    "convolution": (convolution, (3, 4)),
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", BLOCKS)
def test_repeated_linearisation(name, count, key):
    make, shape = BLOCKS[name]
    net = fm.Repeated(layers(make, 4)) >> fm.Pointwise(jnp.sin)
    factors = check_linearisation(net, jax.random.normal(key, (count, *shape)))
    assert all(isinstance(factor, RepeatedRows) for factor in factors)


@pytest.mark.parametrize("name", BLOCKS)
def test_repeated_is_the_series(name, key):
    """Outputs, and the rows of each layer, as of layers that are written one after the other."""
    make, shape = BLOCKS[name]
    inputs = jax.random.normal(key, (2, *shape))
    each = layers(make, 4)
    apart, pull_apart = functools.reduce(lambda a, b: a >> b, each).linearise(inputs)
    repeated, pull = fm.Repeated(each).linearise(inputs)
    np.testing.assert_allclose(repeated, apart, atol=1e-14)
    costates = jax.random.normal(key, (2, 2, *apart.shape[1:]))
    wanted, (factors, _) = pull_apart(costates)[0], pull(costates)
    blocks = len(factors)
    for number, factor in enumerate(factors):
        for depth, dense in enumerate(jax.vmap(lambda each: each.to_dense())(factor.each)):
            np.testing.assert_allclose(dense, wanted[depth * blocks + number].to_dense(), atol=1e-13)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", BLOCKS)
def test_shared_linearisation(name, count, key):
    make, shape = BLOCKS[name]
    check_linearisation(fm.Shared(make(key), 3) >> fm.Pointwise(jnp.sin), jax.random.normal(key, (count, *shape)))


def test_shared_rows_are_a_sum_over_positions(key):
    factors = check_linearisation(fm.Shared(plain(key), 3), jax.random.normal(key, (2, 3)))
    assert [type(factor) for factor in factors] == [PositionRows]
    assert factors[0].inputs.shape == (2, 3, 3)


def test_one_inside_the_other(key):
    inputs = jax.random.normal(key, (2, 3))
    check_linearisation(fm.Shared(fm.Repeated(layers(residual, 2)), 3), inputs)
    check_linearisation(fm.Repeated([fm.Shared(layer, 3) for layer in layers(plain, 2)]), inputs)
    check_linearisation(fm.Shared(fm.Shared(plain(key), 2), 2), inputs)


def test_one_layer_forgotten_would_be_seen(key):
    """Negative control: the rows of a repeated module of one layer less, with the last layer's put to zero."""
    inputs, each = jax.random.normal(key, (2, 3)), layers(plain, 3)
    costates = jnp.ones((2, 1, 3))
    [whole], _ = fm.Repeated(each).linearise(inputs)[1](costates)
    [short], _ = fm.Repeated(each[:2]).linearise(inputs)[1](costates)
    assert not np.allclose(whole.side_by_side()[:, :18], short.side_by_side()[:, :18])
    np.testing.assert_allclose(JoinedRows((whole,)).to_dense(), whole.side_by_side())


def test_a_program_does_not_grow_with_depth(key):
    inputs = jax.random.normal(key, (2, 3))

    def equations(make):
        def traced(net):
            _, pull = net.linearise(inputs)
            factors, back = pull(jnp.ones((2, 1, 3)))
            return [factor.mv(factor.rmv(jnp.ones(factor.row_shape))) for factor in factors], back

        return len(str(jax.make_jaxpr(traced)(make)).splitlines())

    few, many = layers(residual, 2), layers(residual, 12)
    assert equations(fm.Repeated(few)) == equations(fm.Repeated(many))
    assert equations(fm.Shared(few[0], 2)) == equations(fm.Shared(few[0], 12))
    assert equations(fm.Series(tuple(few))) < equations(fm.Series(tuple(many)))


def test_the_state_is_stacked(key):
    net = fm.Repeated(layers(plain, 4))
    assert net.module.layers[0].weight.shape == (4, 3, 3)
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), net)
    assert single(jnp.ones(3)).dtype == jnp.float32
    assert single.linearise(jnp.ones((2, 3)))[0].dtype == jnp.float32


def test_refusals(key):
    with pytest.raises(ValueError, match=r"`layers` must be a list of modules, got \[\]"):
        fm.Repeated([])
    with pytest.raises(ValueError, match="`layers` must be a module of flowmod, got PjitFunction"):
        fm.Repeated([jnp.tanh])
    with pytest.raises(ValueError, match="`layers` must have parameters, float arrays, to be repeated: they have none"):
        fm.Repeated([fm.Pointwise(jnp.tanh)] * 2)
    for other in (fm.Linear(3, 4, key=key), fm.Linear(3, 3, use_bias=False, key=key), fm.LayerNorm(3)):
        with pytest.raises(ValueError, match="`layers` must be equal but for their numbers, but 1 differs from 0"):
            fm.Repeated([fm.Linear(3, 3, key=key), other])
    with pytest.raises(ValueError, match="1 differs from 0"):
        fm.Repeated([plain(key), fm.Linear(3, 3, key=key) >> fm.Pointwise(jnp.sin)])
    with pytest.raises(ValueError, match=r"`layers` must not hold a `fm\.Repeated`: give one list of all the layers"):
        fm.Repeated([fm.Repeated(layers(plain, 2))] * 2)
    for net in (fm.Repeated([fm.Linear(3, 2, key=key)] * 2), fm.Shared(fm.Linear(3, 2, key=key), 2)):
        with pytest.raises(ValueError, match=r"needs layers whose outputs have the shape of their samples, got \(2,\)"):
            net(jnp.ones(3))
        with pytest.raises(ValueError, match=r"needs layers whose outputs have the shape of their samples, got \(2,\)"):
            net.linearise(jnp.ones((4, 3)))
    with pytest.raises(ValueError, match="`times` must be a positive integer, got 0"):
        fm.Shared(plain(key), 0)


def test_the_metric_is_that_of_the_series(key):
    """The steepest descent of a network, with its equal layers repeated and one after the other."""
    each, last = layers(residual, 3), fm.Linear(3, 2, key=key)
    inputs, targets = jax.random.normal(key, (4, 3)), jnp.ones((4, 2))

    @jax.jit
    def descent(net):
        problem = fm.Supervised(net, fm.MeanSquaredError(), inputs, targets)
        return fm.steepest_descent(problem, fm.LayerwiseMetric.of(problem, mass=0.1), net)[-1]

    stacked, last_stacked = descent(fm.Repeated(each) >> last).layers
    *apart, last_apart = descent(fm.Series((*each, last))).layers
    np.testing.assert_allclose(last_stacked.weight, last_apart.weight, rtol=1e-10)
    for depth, wanted in enumerate(apart):
        one = jax.tree.map(lambda leaf, depth=depth: leaf[depth], stacked.module)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-11), one, wanted)
