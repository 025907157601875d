"""Optimal steps: against the oracle, a search over a grid, and the optimizers with them."""

import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm


def bowl(y, H):
    return y @ H @ y / 2


def radius(method, h, beta, values):
    """The spectral radius of a step on curvatures."""
    if method == "euler":
        return np.abs(1 - h * values).max()
    steps = [np.array([[1 + beta - h * value, -beta], [1, 0]]) for value in values]
    return max(np.abs(np.linalg.eigvals(step)).max() for step in steps)


def test_the_optima_of_the_oracle(oracle):
    o = oracle("o10_step_limits")
    flow, H = fm.GradientFlow(bowl, fm.ConstantMetric(np.asarray(o["inputs"]["M"]))), jnp.asarray(o["inputs"]["H"])
    euler = fm.optimal_step(flow, jnp.ones(2), args=H)
    heavy = fm.optimal_step(flow, jnp.ones(2), "heavy_ball", args=H)
    best = o["results"]["hb_optimal"]
    np.testing.assert_allclose([euler.smallest, euler.largest], o["results"]["eigs_MinvH"], rtol=1e-9)
    np.testing.assert_allclose([euler.step_size, euler.factor], list(o["results"]["gd_optimal"].values()), rtol=1e-9)
    np.testing.assert_allclose([heavy.step_size, heavy.momentum, heavy.factor], list(best.values()), rtol=1e-9)
    assert euler.momentum is None
    assert "heavy_ball: step size 0.2288, momentum 0.1439: a factor of 0.3794 per step" in str(heavy)
    values = np.array(o["results"]["eigs_MinvH"])
    assert euler.condition == pytest.approx(values[1] / values[0])
    # It is what it says, and neither another step nor another momentum is better.
    for found, method in ((euler, "euler"), (heavy, "heavy_ball")):
        beta = found.momentum or 0.0
        assert radius(method, found.step_size, beta, values) == pytest.approx(found.factor, rel=1e-6)
        for factor in (0.9, 0.99, 1.01, 1.1):
            assert radius(method, factor * found.step_size, beta, values) > found.factor
            assert method == "euler" or radius(method, found.step_size, factor * beta, values) > found.factor


def test_a_wide_spectrum_is_worked_out_and_not_estimated():
    """300 curvatures of a logarithmic scale, whose smallest one Lanczos does not find in as many products."""
    values = np.logspace(-4, 0, 300)
    found = fm.optimal_step(fm.GradientFlow(lambda y, args: jnp.sum(args * y**2) / 2), jnp.ones(300), args=values)
    np.testing.assert_allclose([found.smallest, found.largest], [1e-4, 1], rtol=1e-9)


def test_wrong_input_is_named():
    flow, y = fm.GradientFlow(bowl, fm.ConstantMetric(np.eye(2))), jnp.ones(2)
    with pytest.raises(ValueError, match=r"`y` must be a state with positive curvature in all.* smallest is -1,"):
        fm.optimal_step(flow, y, args=jnp.diag(jnp.asarray([2.0, -1.0])))
    with pytest.raises(ValueError, match=r"positive curvature in all.*add `fm.WeightDecay`"):
        fm.optimal_step(flow, y, args=jnp.diag(jnp.asarray([2.0, 0.0])))
    with pytest.raises(ValueError, match="`flow` must have a potential with curvature at `y`"):
        fm.optimal_step(flow, y, args=jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match="`y` must be a state at which potential, second derivatives and metric"):
        fm.optimal_step(flow, y, args=jnp.full((2, 2), jnp.nan))
    with pytest.raises(ValueError, match='`method` must be "euler" or "heavy_ball", whose optimum is known, got'):
        fm.optimal_step(flow, y, "rk4")
    with pytest.raises(ValueError, match=r"`flow` must be a `fm.GradientFlow`, got VectorField"):
        fm.optimal_step(fm.VectorField(lambda t, y, args: -y), y)
