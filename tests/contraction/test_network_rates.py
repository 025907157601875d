"""Rates of networks in their layerwise metric: two routes that agree, and the one case with a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import flowmod as fm
from flowmod.contraction import leading_mode
from flowmod.metric import inverse_at
from tests.networks import classification, samples, tanh_network


@pytest.mark.slow
def test_both_routes_agree_along_a_training_run():
    """9-8-6, P = 134, at five times: the pencil formed, and products with it; the metric depends on the state."""
    net = tanh_network(9, 8, 6)
    assert sum(leaf.size for leaf in jax.tree.leaves(net)) == 134
    problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), *samples(40, 9, 6), regularizer=fm.WeightDecay(0.01))
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1))
    run = fm.simulate(flow, net, ts=np.asarray([0.0, 0.3, 1.0, 3.0, 8.0]))
    products = fm.contraction_rate(flow, run, method="lanczos")
    formed = fm.contraction_rate(flow, run, method="dense")
    np.testing.assert_allclose(products, formed, rtol=1e-8)
    assert (formed < 0).all()  # it does not contract in its own metric, although its loss falls all the time
    assert (np.diff(run.potential) < 0).all()
    # Negative control: a metric that does not follow the state has another rate.
    frozen = fm.ConstantMetric(flow.metric(net).as_matrix())
    still = fm.contraction_rate(flow, run, metric=frozen, method="lanczos")
    assert np.abs(still / formed - 1).max() > 1e-2


def test_softmax_regression_contracts_at_decay_over_mass():
    """Where all logits move together nothing but the decay bends the potential, and nothing but the mass resists."""
    key, nu = jax.random.key(0), 0.01
    net = fm.Linear(6, 4, key=key)
    problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), *samples(30, 6, 4), regularizer=fm.WeightDecay(nu))
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1))
    run = fm.simulate(flow, net, ts=np.asarray([0.0, 1.0, 10.0]))
    for method in ("lanczos", "dense"):
        np.testing.assert_allclose(fm.contraction_rate(flow, run, method=method), nu / 0.1, rtol=1e-6)
    # In the flat metric its rate is that of the decay, too: null directions have no other curvature.
    descent = fm.GradientFlow(problem)
    np.testing.assert_allclose(fm.contraction_rate(descent, net, method="lanczos"), nu, rtol=1e-6)


def test_the_mode_has_a_residual_and_a_direction_like_the_state():
    net, problem = classification(count=12, sizes=(6, 5, 3))
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1))
    mode = leading_mode(flow, net)
    assert bool(mode.converged)
    assert float(mode.residual) <= 1e-8 * float(mode.scale)
    assert float(flow.metric.norm(net, mode.vector)) == pytest.approx(1.0, rel=1e-8)
    assert float(-mode.value) == pytest.approx(float(fm.contraction_rate(flow, net, method="lanczos")), rel=1e-8)


@pytest.mark.parametrize("count", [4, 40], ids=["rows", "parameters"])
def test_a_metric_is_factored_once_on_its_smaller_side(count):
    net, problem = classification(count=count, sizes=(6, 5, 3))
    metric = fm.LayerwiseMetric.of(problem, mass=(0.1, 0.3))
    solve = jax.jit(lambda y, g: inverse_at(metric, y)(g))
    covector = jax.tree.map(lambda leaf: jnp.cos(leaf * 7), net)
    dense = np.linalg.solve(metric(net).as_matrix(), ravel_pytree(covector)[0])
    np.testing.assert_allclose(ravel_pytree(solve(net, covector))[0], dense, rtol=1e-9)
