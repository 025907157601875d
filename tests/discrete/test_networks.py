"""Optimizers of networks against their flows: step limits at a minimiser, orders in the layerwise metric."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import flowmod as fm
from flowmod.discrete import leading_curvature
from tests.networks import classification


def minimiser_of(problem, net):
    """The flow's end, polished by Newton's method until the gradient is rounding."""
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.01))
    run = fm.simulate(flow, net, 60.0, rtol=1e-5, until=fm.AtEquilibrium(flow, tolerance=1e-6))
    flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[-1], run.ys))
    gradient = jax.jit(jax.grad(lambda x: problem(unravel(x))))
    hessian = jax.jit(jax.hessian(lambda x: problem(unravel(x))))
    for _ in range(8):
        flat = flat - jnp.linalg.solve(hessian(flat), gradient(flat))
    assert float(jnp.linalg.norm(gradient(flat))) <= 1e-10
    assert float(jnp.linalg.eigvalsh(hessian(flat))[0]) > 0
    return unravel(flat)


def decays(flow, y, direction, step_size, steps=400):
    """Whether a perturbation of 1e-7 along a direction is smaller after some steps of Euler's method."""

    @jax.jit
    def grown(h):
        start = jax.tree.map(lambda leaf, d: leaf + 1e-7 * d, y, direction)

        def step(z, _):
            return eqx.apply_updates(z, jax.tree.map(lambda v: h * v, flow.vector_field(0.0, z))), None

        end, _ = jax.lax.scan(step, start, length=steps)
        return jnp.linalg.norm(ravel_pytree(end)[0] - ravel_pytree(y)[0])

    initial = 1e-7 * float(jnp.linalg.norm(ravel_pytree(direction)[0]))
    return [float(grown(h)) < initial for h in step_size]


@pytest.mark.slow
def test_step_limit_at_a_minimiser_is_where_perturbations_stop_decaying():
    net, problem = classification(count=30, sizes=(5, 4, 3), regularizer=fm.WeightDecay(0.02))
    y = minimiser_of(problem, net)
    for flow in (
        fm.GradientFlow(problem),
        fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1)),
    ):
        limit = float(fm.step_limit(flow, y))
        direction = leading_curvature(flow, y).vector
        assert decays(flow, y, direction, [0.99 * limit, 1.01 * limit]) == [True, False]


def test_euler_updates_are_steps_of_the_flow():
    net, problem = classification()
    flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1))
    optimizer = fm.discretize(flow, 0.05)
    updates, _ = optimizer.update(jax.grad(problem)(net), optimizer.init(net), net)
    step = jax.tree.map(lambda leaf: 0.05 * leaf, flow.vector_field(0.0, net))
    np.testing.assert_allclose(ravel_pytree(updates)[0], ravel_pytree(step)[0], rtol=1e-9, atol=1e-14)
