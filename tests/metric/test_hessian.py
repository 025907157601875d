"""The metric of a convex function: its dual coordinates, and the mirror steps in them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.discrete.iterates import marcher, one_step, slopes


def negative_entropy(p, args):
    return jnp.sum(p * jnp.log(p))


def coupled(y, args):
    """Strictly convex, off-diagonal, with a derivative that has no inverse in closed form; `args` scales it."""
    return args * (jnp.sum(jnp.cosh(y["a"])) + (jnp.sum(y["a"]) + y["b"]) ** 2 + jnp.exp(y["b"]))


ENTROPY = fm.HessianMetric(negative_entropy)
CLOSED = fm.HessianMetric(negative_entropy, inverse=lambda s, args: jnp.exp(s - 1))
P = np.array([1e-9, 0.2, 0.3, 0.5])
TREE = {"a": jnp.array([0.3, -0.7]), "b": jnp.array(0.4)}


def test_it_is_the_second_derivative():
    metric = fm.HessianMetric(coupled)
    a, b = np.asarray(TREE["a"]), 0.4
    matrix = 3 * (2 * np.ones((3, 3)) + np.diag([np.cosh(a[0]), np.cosh(a[1]), np.exp(b)]))
    v = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(-0.5)}
    flat = np.array([1.0, 2.0, -0.5])
    found = jax.jit(lambda v: (metric(TREE, 3.0).as_matrix(), metric.flat(TREE, v, 3.0), metric.sharp(TREE, v, 3.0)))(v)
    np.testing.assert_allclose(found[0], matrix, rtol=1e-13)
    np.testing.assert_allclose(np.hstack(jax.tree.leaves(found[1])), matrix @ flat, rtol=1e-13)
    np.testing.assert_allclose(np.hstack(jax.tree.leaves(found[2])), np.linalg.solve(matrix, flat), rtol=1e-12)
    report = fm.check_metric(metric, TREE, 3.0)
    assert report.ok, str(report)
    assert fm.check_metric(ENTROPY, P).ok


def test_dual_and_primal_are_inverse():
    """Newton's method against the closed form, and back and forth where there is none."""
    metric = fm.HessianMetric(coupled)
    dual = metric.dual(TREE, 3.0)
    total = 0.3 - 0.7 + 0.4
    wanted = 3 * np.array([np.sinh(0.3) + 2 * total, np.sinh(-0.7) + 2 * total, 2 * total + np.exp(0.4)])
    np.testing.assert_allclose(np.hstack(jax.tree.leaves(dual)), wanted, rtol=1e-13)
    far = {"a": jnp.array([4.0, 5.0]), "b": jnp.array(-6.0)}
    back = jax.jit(lambda s: metric.primal(s, far, 3.0))(dual)
    assert jax.tree.structure(back) == jax.tree.structure(TREE)
    np.testing.assert_allclose(np.hstack(jax.tree.leaves(back)), [0.3, -0.7, 0.4], rtol=1e-12)
    primal = jax.jit(lambda s: (ENTROPY.primal(s, P), CLOSED.primal(s, P)))
    newton, closed = primal(np.array([-30.0, -5.0, 0.0, 4.0]))
    np.testing.assert_allclose(closed, np.exp(np.array([-31.0, -6.0, -1.0, 3.0])), rtol=1e-13)
    np.testing.assert_allclose(newton, closed, rtol=1e-8)
    assert (np.asarray(newton) != np.asarray(closed)).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_root_next_to_the_edge_is_right_or_nan(dtype):
    """From 1 to `e^-5 ... e^-40`, where the metric makes the way back to the start seem endless."""
    small = np.linspace(-40, -5, 141)
    far = jax.jit(jax.vmap(lambda s: ENTROPY.primal(s, jnp.ones(1, dtype))))((small[:, None] + 1).astype(dtype))
    known = np.isfinite(far[:, 0])
    assert known.mean() > 0.98
    np.testing.assert_allclose(far[known, 0], np.exp(small[known]), rtol=1e-12 if dtype == np.float64 else 1e-5)


def test_negative_entropy_gives_exponentiated_gradient():
    gradient = np.array([5.0, -3.0, 0.7, 2.0])
    flows = [fm.GradientFlow(lambda p, args: gradient @ p, metric) for metric in (CLOSED, ENTROPY)]
    step = jax.jit(lambda h: [one_step(flow, "mirror", jnp.asarray(P), h) for flow in flows])
    for h in (0.01, 1.0):
        for found, rtol in zip(step(h), (1e-13, 1e-12), strict=True):
            np.testing.assert_allclose(P + found, P * np.exp(-h * gradient), rtol=rtol)
    np.testing.assert_allclose(CLOSED.sharp(P, gradient), P * gradient, rtol=1e-13)  # Euler's step is another
    assert np.max(np.abs(1 - gradient - np.exp(-gradient))) > 1


def test_mirror_descent_follows_its_flow_to_first_order_and_stays_positive():
    """`p_i' = -p_i (p_i - q_i) / q_i`, the logistic equation, whose dual coordinates are not straight."""
    q = np.array([0.2, 1.5])
    flow = fm.GradientFlow(lambda p, args: jnp.sum((p - q) ** 2 / q) / 2, CLOSED)
    p0 = np.array([0.9, 0.3])
    exact = q / (1 + (q / p0 - 1) * np.exp(-1.0))
    march = marcher(flow, "mirror")
    gaps = [np.linalg.norm(march(p0, 1 / steps, steps) - exact) for steps in (40, 80, 160)]
    assert slopes(gaps) == pytest.approx([1, 1], abs=0.05)
    assert march(p0, 3.0, 5).min() > 0  # however large the step


def test_single_precision_stays():
    flow = fm.GradientFlow(lambda p, args: jnp.sum(p**2), ENTROPY)
    p = jnp.array([0.2, 0.8], jnp.float32)
    step = jax.jit(lambda p: one_step(flow, "mirror", p, 0.5))(p)
    assert step.dtype == jnp.float32
    np.testing.assert_allclose(p + step, p * jnp.exp(-p), rtol=1e-6)


def test_out_of_the_domain_it_is_nan():
    outside = jnp.array([-0.2, 0.5])
    assert np.isnan(ENTROPY.dual(outside)).all()
    barrier = fm.HessianMetric(lambda y, args: -jnp.sum(jnp.log(y)))
    primal = jax.jit(lambda s: barrier.primal(s, jnp.ones(2)))
    np.testing.assert_allclose(primal(jnp.array([-4.0, -0.1])), [0.25, 10.0], rtol=1e-12)
    assert np.isnan(primal(jnp.array([-4.0, 0.1]))).all()  # -1/y is never positive
    # Below zero `1/y` is finite and concave: the derivative -4 at -1/2 is not meant.
    inverse = fm.HessianMetric(lambda y, args: jnp.sum(1 / y))
    far = jax.jit(lambda s: inverse.primal(s, jnp.ones(1)))
    found = np.asarray(far(jnp.array([-4.0])))
    assert np.isnan(found).all() or found == pytest.approx(0.5)


def test_wrong_input():
    with pytest.raises(ValueError, match=r"`fn` must be a function of \(y, args\)"):
        fm.HessianMetric(lambda y: jnp.sum(y))
    with pytest.raises(ValueError, match=r"`inverse` must be a function of \(y_star, args\), got 3"):
        fm.HessianMetric(negative_entropy, inverse=3)
    with pytest.raises(ValueError, match=r"`fn` must return a scalar, got an array of shape \(4,\)"):
        fm.HessianMetric(lambda y, args: y**2)(P)
    with pytest.raises(ValueError, match="`the second derivative of fn` must be positive definite"):
        fm.HessianMetric(lambda y, args: jnp.sum(jnp.cos(y))).sharp(P, P)
    forgetful = fm.HessianMetric(negative_entropy, inverse=lambda s, args: jnp.exp(s))
    with pytest.raises(ValueError, match="`inverse` must be the inverse of the gradient of `fn`, but the gradient is"):
        forgetful.primal(forgetful.dual(P), P)
    assert np.isnan(jax.jit(lambda s: forgetful.primal(s, P))(forgetful.dual(P))).all()
    with pytest.raises(ValueError, match=r"`inverse` must return a tree like the state, .* got \[\(3,\)\]"):
        fm.HessianMetric(negative_entropy, inverse=lambda s, args: s[1:]).primal(P, P)
    with pytest.raises(ValueError, match=r"`flow` must have a `fm.HessianMetric\(fn\)`, .* 'mirror' .* got Euclidean"):
        fm.discretize(fm.GradientFlow(negative_entropy), 0.1, "mirror")
