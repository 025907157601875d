"""The bound of a rate from the speed along a run: above the rate everywhere, and equal to it where it should be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.contraction.test_rate import METRIC, SYSTEM
from tests.zoo import generic_mass, generic_potential


def test_along_a_run_it_is_the_decay_of_the_speed():
    """Against differences along the run, and against the matrix exponential's closed form."""
    spiral = np.asarray([[-0.3, 2.0], [-1.0, -0.5]])
    flow = fm.VectorField(lambda t, y, args: jnp.asarray(spiral) @ y)
    run = fm.simulate(flow, jnp.asarray([1.0, 0.5]), ts=np.linspace(0, 5, 401), rtol=1e-10, atol=1e-12)
    bounds = fm.rate_bound_from_speed(flow, run)
    velocities = np.asarray(run.ys) @ spiral.T
    decay = -np.gradient(np.log(np.linalg.norm(velocities, axis=1)), run.ts)
    np.testing.assert_allclose(bounds[1:-1], decay[1:-1], atol=1e-3)
    exact = -np.einsum("ti,ij,tj->t", velocities, spiral, velocities) / (velocities**2).sum(1)
    np.testing.assert_allclose(bounds, exact, rtol=1e-12, atol=1e-12)
    assert bounds.min() < 0 < bounds.max()


def test_no_rate_is_above_it_where_metric_and_flow_depend_on_time():
    """400 states of oracle o03's system; what the plain derivative says of the speed is wrong there."""
    rng = np.random.default_rng(3)
    xs, ts = jnp.asarray(rng.normal(size=(400, 2))), jnp.asarray(rng.uniform(0, 6, size=400))

    @jax.jit
    def both(xs, ts):
        def one(point):
            x, t = point

            def speed(t, x):
                v = SYSTEM.vector_field(t, x)
                return v @ METRIC.at(t).flat(x, v)

            square, growth = jax.jvp(speed, (t, x), (jnp.ones_like(t), SYSTEM.vector_field(t, x)))
            rate = fm.contraction_rate(SYSTEM, x, t, metric=METRIC)
            return rate, fm.rate_bound_from_speed(SYSTEM, x, t, metric=METRIC), -growth / square / 2

        return jax.lax.map(one, (xs, ts))

    rates, bounds, plain = both(xs, ts)
    assert (rates <= bounds + 1e-10).all()
    assert (bounds - rates).min() < 1e-3  # some velocities are nearly the slowest direction
    assert (plain < rates - 1e-3).any()  # negative control: the field's own motion left in


def test_it_is_the_rate_where_the_velocity_is_the_slowest_direction():
    cubic = fm.VectorField(lambda t, y, args: -(y**3))
    np.testing.assert_allclose(fm.rate_bound_from_speed(cubic, jnp.asarray([0.7])), 3 * 0.49, rtol=1e-12)
    linear = fm.VectorField(lambda t, y, args: jnp.asarray([-1.0, -5.0], dtype=y.dtype) * y)
    slow, fast, both = (jnp.asarray(y) for y in ([2.0, 0.0], [0.0, 2.0], [1.0, 1.0]))
    values = jax.jit(jax.vmap(lambda y: fm.rate_bound_from_speed(linear, y)))(jnp.stack([slow, fast, both]))
    np.testing.assert_allclose(values, [1.0, 5.0, (1 + 5**3) / (1 + 5**2)], rtol=1e-12)
    # Near the equilibrium the square of the speed has no float; at it there is no direction.
    near = jnp.asarray([1e-30, 0.0], dtype=jnp.float32)
    assert fm.rate_bound_from_speed(linear, near).dtype == jnp.float32
    np.testing.assert_allclose(fm.rate_bound_from_speed(linear, near), 1.0, rtol=1e-6)
    assert np.isnan(fm.rate_bound_from_speed(linear, jnp.zeros(2)))


def test_a_metric_without_lengths_bounds_nothing():
    flow = fm.GradientFlow(generic_potential, fm.DenseMetric(generic_mass))
    y = jnp.asarray([0.7, -0.4])
    negative = fm.DenseMetric(lambda y, args: -jnp.eye(2))
    assert np.isnan(jax.jit(lambda y: fm.rate_bound_from_speed(flow, y, metric=negative))(y))
    with pytest.raises(ValueError, match="`flow` must be a flow, got float"):
        fm.rate_bound_from_speed(1.0, y)
    with pytest.raises(ValueError, match="`metric` must be a metric, got ndarray"):
        fm.rate_bound_from_speed(flow, y, metric=np.eye(2))
