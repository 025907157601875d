"""Optimizers of networks against their flows: step limits at a minimiser, orders in the layerwise metric."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from jax.flatten_util import ravel_pytree

import flowmod as fm
from flowmod.study.demo.digits import DigitsConfig, load_digits
from tests.networks import classification, tanh_network


def minimiser_of(problem, net):
    """By SciPy, polished by Newton's method until the gradient is rounding; with all curvatures positive."""
    flat, unravel = ravel_pytree(net)
    value_and_gradient = jax.jit(jax.value_and_grad(lambda x: problem(unravel(x))))
    hessian = jax.jit(jax.hessian(lambda x: problem(unravel(x))))

    def of(x):
        return tuple(map(np.asarray, value_and_gradient(x)))

    x = scipy.optimize.minimize(of, np.asarray(flat), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    for _ in range(4):
        matrix = np.asarray(hessian(x))
        x = x - np.linalg.solve(matrix, of(x)[1])
    assert np.linalg.norm(of(x)[1]) <= 1e-10
    assert np.linalg.eigvalsh(matrix)[0] > 0
    return unravel(jnp.asarray(x))


def first_growing_step(problem, flow, optimizer, y, limit):
    """The step, near the limit, from which on the distance to a minimiser grows over 200 updates, by bisection."""
    vector = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(4), leaf.shape), y)
    length = flow.metric.norm(y, vector)
    moved = jax.tree.map(lambda leaf, d: leaf + 1e-4 / length * d, y, vector)

    @jax.jit
    def bisected(low, high):
        def growth(h):
            made = optimizer(h)

            def step(carry, _):
                z, state = carry
                updates, state = made.update(jax.grad(problem)(z), state, z)
                return (optax.apply_updates(z, updates), state), None

            (end, _), _ = jax.lax.scan(step, (moved, made.init(moved)), length=200)
            return flow.metric.norm(y, jax.tree.map(jnp.subtract, end, y)) / 1e-4

        def halve(_, bracket):
            middle = sum(bracket) / 2
            grows = growth(middle) > 1
            return jnp.where(grows, bracket[0], middle), jnp.where(grows, middle, bracket[1])

        # Two rounds more than are needed to tell 1 %: the last ones would find a wrong bracket's edge.
        return jax.lax.fori_loop(0, 6, halve, (low, high))

    low, high = bisected(0.93 * limit, 1.09 * limit)
    assert low > 0.94 * limit
    assert high < 1.08 * limit
    return float(high)


def test_digits_leave_their_minimum_at_the_step_limit():
    digits = load_digits(DigitsConfig(train=20))
    net = tanh_network(64, 4, 10)
    problem = fm.Supervised(
        net, fm.SoftmaxCrossEntropy(), digits.images, digits.labels, regularizer=fm.WeightDecay(0.02)
    )
    y = minimiser_of(problem, net)
    plain, layerwise = fm.GradientFlow(problem), fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1))
    limits = []
    for flow, method, momentum in ((plain, "euler", None), (plain, "heavy_ball", 0.9), (layerwise, "euler", None)):
        covector = jax.grad(problem)(y)
        assert float(flow.metric.inner(y, flow.metric.sharp(y, covector), flow.metric.sharp(y, covector))) <= 1e-16
        limits.append(float(fm.step_limit(flow, y, method, momentum=momentum)))
        found = first_growing_step(
            problem, flow, lambda h, f=flow, m=method, b=momentum: fm.discretize(f, h, m, momentum=b), y, limits[-1]
        )
        assert found == pytest.approx(limits[-1], rel=0.02)
    # Negative control: a limit of one would not do for another.
    assert limits[1] == pytest.approx(1.9 * limits[0])
    assert abs(limits[2] / limits[0] - 1) > 0.1


def test_euler_updates_are_steps_of_the_flow():
    net, problem = classification()
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1))
    optimizer = fm.discretize(flow, 0.05)
    updates, _ = optimizer.update(jax.grad(problem)(net), optimizer.init(net), net)
    step = jax.tree.map(lambda leaf: 0.05 * leaf, flow.vector_field(0.0, net))
    np.testing.assert_allclose(ravel_pytree(updates)[0], ravel_pytree(step)[0], rtol=1e-9, atol=1e-14)
