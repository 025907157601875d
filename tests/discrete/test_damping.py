"""The rule for the mass where there is nothing to learn: steps of zero, fitted losses, losses that are not finite."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import flowmod as fm
from flowmod.discrete import LevenbergMarquardt, layerwise
from tests.networks import classification, tanh_network


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_the_mass_stays_where_the_loss_is_fitted_to_rounding(unit):
    def network(seed):
        net = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tanh_network(5, 8, 2, seed=seed))
        return eqx.tree_at(lambda net: net.layers[-1], net, jax.tree.map(lambda leaf: unit * leaf, net.layers[-1]))

    inputs = jax.random.normal(jax.random.key(2), (6, 5), jnp.float32)
    net, targets = network(1), jax.vmap(network(5))(inputs)
    problem = fm.Supervised(net, fm.MeanSquaredError(), inputs, targets)
    optimizer = layerwise(problem, 0.3, mass=0.05 * unit, damping=LevenbergMarquardt())

    def update(carry, _):
        net, state = carry
        updates, state = optimizer.update(jax.grad(problem)(net), state, net)
        return (optax.apply_updates(net, updates), state), (problem(net), state.damping.scale)

    _, (losses, scales) = jax.jit(lambda net: jax.lax.scan(update, (net, optimizer.init(net)), length=150))(net)
    assert float(losses[-1]) < 1e-12 * float(losses[0])
    assert float(scales[0]) < 1  # while there is something to learn, the rule learns
    np.testing.assert_array_equal(scales[75:], scales[-1])
    assert float(scales[-1]) < 1


def test_a_step_of_zero_is_no_verdict_on_the_mass():
    net, problem = classification()
    schedule = optax.linear_schedule(0.0, 0.3, 3)
    optimizer = layerwise(problem, schedule, mass=0.05, damping=LevenbergMarquardt())
    update = jax.jit(lambda net, state: optimizer.update(None, state, net))
    updates, state = update(net, optimizer.init(net))
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(updates))
    assert float(state.damping.scale) == 1
    assert np.isnan(state.damping.ratio)
    _, state = update(net, state)
    assert float(state.damping.scale) < 1


@pytest.mark.parametrize(
    ("value", "after", "predicted"), [(1, np.nan, 0), (1, np.nan, 1), (1, np.inf, 1), (np.nan, np.nan, np.nan)]
)
def test_a_loss_that_is_not_finite_asks_for_more_mass(value, after, predicted):
    rule = LevenbergMarquardt()
    numbers = (jnp.asarray(float(number)) for number in (value, after, predicted, 1))
    assert float(rule.adapted(rule.initial(float), *numbers).scale) == 1.5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"start": 0.0}, "`start` must be within `limits`, positive"),
        ({"limits": (0.0, 1.0)}, "`start` must be within `limits`, positive"),
        ({"start": "a"}, "`start` must be within `limits`, positive numbers, got 'a'"),
        ({"limits": 3}, "`limits` must be two numbers, the least and the largest multiple, got 3"),
        ({"limits": (1e-3, "a")}, "`limits` must be two numbers"),
        ({"factor": 1.0}, "`factor` must be a number above 1, got 1.0"),
        ({"factor": "a"}, "`factor` must be a number above 1, got 'a'"),
        ({"every": 0}, "`every` must be a whole number from 1, got 0"),
    ],
)
def test_a_rule_has_its_ranges(settings, words):
    with pytest.raises(ValueError, match=words):
        LevenbergMarquardt(**settings)
