"""Contraction rates: against oracles, finite differences of everything, and the Riemannian Hessian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import flowmod as fm
from tests.zoo import STATE_DEPENDENT, generic_mass, generic_potential, rosenbrock, rosenbrock_residual, toggle

SYSTEM = fm.VectorField(lambda t, x, args: jnp.stack([-x[0] - x[0] ** 3 + x[1], -x[0] - 2 * x[1] + 0.5 * jnp.sin(t)]))


def theta(t, x, args):
    """The factor of oracle o03, dependent on state and time."""
    zero = jnp.zeros_like(x[0])
    top = jnp.stack([1 + 0.2 * x[0] ** 2, 0.3 * jnp.sin(x[1])])
    return jnp.stack([top, jnp.stack([zero, 1 + 0.1 * jnp.cos(t) + zero])])


METRIC = fm.MovingMetric(lambda t, x, args: theta(t, x, args).T @ theta(t, x, args))


def rotating(t, x, args):
    angle = 3 * jnp.asarray(t)
    turn = jnp.stack([jnp.stack([jnp.cos(angle), -jnp.sin(angle)]), jnp.stack([jnp.sin(angle), jnp.cos(angle)])])
    return turn @ theta(t, x, args)


def cholesky(t, x, args):
    return jnp.linalg.cholesky(theta(t, x, args).T @ theta(t, x, args), upper=True)


def test_rate_along_a_trajectory_in_a_moving_metric(oracle):
    """Oracle o03, with sympy derivatives; the run is ours."""
    o = oracle("o03_contraction_state_metric")
    run = fm.simulate(SYSTEM, jnp.asarray(o["inputs"]["x0"]), ts=np.asarray(o["inputs"]["t"]), rtol=1e-11, atol=1e-13)
    rows = o["results"]["trajectory"]
    np.testing.assert_allclose(run.ys, [row["x"] for row in rows], atol=1e-9)
    rates = fm.contraction_rate(SYSTEM, run, metric=METRIC)
    np.testing.assert_allclose(rates, [row["rate"] for row in rows], atol=1e-8)
    euclidean = fm.contraction_rate(SYSTEM, run)
    np.testing.assert_allclose(euclidean, [row["rate_euclidean"] for row in rows], atol=1e-8)
    # Negative control: the metric's motion along the flow is not small.
    ignored = np.asarray([row["rate_if_Mdot_ignored"] for row in rows])
    assert np.abs(rates - ignored).max() > 1e-2


@pytest.mark.parametrize("factor", [theta, rotating, cholesky], ids=["given", "rotating", "cholesky"])
def test_every_factor_of_a_metric_gives_the_same_rate(oracle, factor):
    for row in oracle("o03_contraction_state_metric")["results"]["trajectory"]:
        x, t = jnp.asarray(row["x"]), row["t"]
        np.testing.assert_allclose(fm.contraction_rate(SYSTEM, x, t, factor=factor), row["rate"], atol=1e-9)
        F = fm.generalized_jacobian(SYSTEM, x, t, factor=factor)
        np.testing.assert_allclose(np.linalg.eigvalsh((F + F.T) / 2), row["eigs_symF"], atol=1e-9)


def test_the_generalized_jacobian_itself_depends_on_the_factor(oracle):
    row = oracle("o03_contraction_state_metric")["results"]["trajectory"][1]
    x, t = jnp.asarray(row["x"]), row["t"]
    given = fm.generalized_jacobian(SYSTEM, x, t, factor=theta)
    np.testing.assert_allclose(given, row["F_given_Theta"], atol=1e-9)
    default = fm.generalized_jacobian(SYSTEM, x, t, metric=METRIC)
    np.testing.assert_allclose(np.linalg.eigvalsh((default + default.T) / 2), row["eigs_symF"], atol=1e-9)
    assert np.abs(default - given).max() > 1e-3


def finite_difference_rate(field, matrix, t, x, h=1e-5):
    """The rate from central differences of everything and SciPy's generalized eigenvalues."""
    n = len(x)
    unit = np.eye(n)
    J = np.stack([(field(t, x + h * e) - field(t, x - h * e)) / (2 * h) for e in unit], axis=1)
    v = field(t, x)
    rate = (matrix(t + h, x + h * v) - matrix(t - h, x - h * v)) / (2 * h)
    M = matrix(t, x)
    S = (rate + M @ J + J.T @ M) / 2
    return -scipy.linalg.eigh((S + S.T) / 2, M, eigvals_only=True)[-1]


@pytest.mark.parametrize("name", list(STATE_DEPENDENT))
def test_rate_against_finite_differences_of_everything(name):
    potential, mass, y0 = STATE_DEPENDENT[name]
    flow = fm.GradientFlow(potential, fm.DenseMetric(mass))

    def field(t, x):
        return np.asarray(flow.vector_field(t, jnp.asarray(x)))

    expected = finite_difference_rate(field, lambda t, x: np.asarray(mass(jnp.asarray(x), None)), 0.0, np.asarray(y0))
    np.testing.assert_allclose(fm.contraction_rate(flow, jnp.asarray(y0)), expected, atol=1e-7)


def riemannian_hessian_rate(potential, mass, x):
    """The smallest eigenvalue of the Riemannian Hessian, by Christoffel symbols: no flow, no Jacobian of a solve."""
    f, M = (lambda y: potential(y, None)), (lambda y: mass(y, None))
    D = np.asarray(jax.jacfwd(M)(x))  # D[i, j, k] = d_k M_ij
    inverse = np.linalg.inv(M(x))
    lowered = (np.einsum("ljk->ljk", D) + np.einsum("lkj->ljk", D) - np.einsum("jkl->ljk", D)) / 2
    christoffel = np.einsum("il,ljk->ijk", inverse, lowered)
    hessian = np.asarray(jax.hessian(f)(x)) - np.einsum("ijk,i->jk", christoffel, np.asarray(jax.grad(f)(x)))
    return scipy.linalg.eigh(hessian, np.asarray(M(x)), eigvals_only=True)[0]


@pytest.mark.parametrize("name", list(STATE_DEPENDENT))
@pytest.mark.parametrize("shift", [0.0, 0.3, -0.5])
def test_rate_of_a_gradient_flow_is_the_smallest_riemannian_hessian_eigenvalue(name, shift):
    potential, mass, y0 = STATE_DEPENDENT[name]
    x = jnp.asarray(y0) + shift
    rate = fm.contraction_rate(fm.GradientFlow(potential, fm.DenseMetric(mass)), x)
    np.testing.assert_allclose(rate, riemannian_hessian_rate(potential, mass, x), atol=1e-10)


def test_generic_metric_of_the_oracle(oracle):
    o = oracle("o24_pullback_metric_closed_forms")
    flow = fm.GradientFlow(generic_potential, fm.DenseMetric(generic_mass))
    for row in o["results"]["generic"]:
        rate = fm.contraction_rate(flow, jnp.asarray(row["point"]))
        np.testing.assert_allclose(rate, row["rate"], atol=1e-10)


@pytest.mark.parametrize("kind", ["pullback", "damped"])
def test_pullback_metrics_have_rate_one_until_they_are_damped(oracle, kind):
    o = oracle("o24_pullback_metric_closed_forms")
    jacobian, mu = jax.jacfwd(rosenbrock_residual), {"pullback": 0.0, "damped": 0.5}[kind]
    metric = fm.DenseMetric(lambda y, args: jacobian(y).T @ jacobian(y) + mu * jnp.eye(2))
    for row in o["results"][kind]:
        rate = fm.contraction_rate(fm.GradientFlow(rosenbrock, metric), jnp.asarray(row["point"]))
        np.testing.assert_allclose(rate, row["rate"], atol=1e-9)


def test_the_speed_in_the_metric_decays_at_least_at_the_rate():
    """lam <= -(1/2) d/dt log |x'|_M^2 along every run of an autonomous flow."""
    flow = toggle()
    run = fm.simulate(flow, {"u": 1.0, "v": 8.0}, ts=np.linspace(0, 10, 401), rtol=1e-10, atol=1e-12)
    rates = fm.contraction_rate(flow, run)
    speed = np.asarray(run.gradient_norm)
    decay = -np.gradient(np.log(speed), run.ts)
    assert (rates[1:-1] <= decay[1:-1] + 1e-3).all()
    assert rates.min() < 0 < rates.max()  # it passes the saddle's side, where the flow does not contract


def test_a_rate_bounds_the_distance_of_neighbours(oracle):
    """|dx(T)|_M <= exp(-int lam) |dx(0)|_M, with the variational equation by jvp through the run."""
    o = oracle("o03_contraction_state_metric")
    x0, v0 = jnp.asarray(o["inputs"]["x0"]), jnp.asarray(o["inputs"]["variational_v0"])
    times = np.linspace(0, 3, 601)
    run = fm.simulate(SYSTEM, x0, ts=times, rtol=1e-10, atol=1e-12)
    mean = np.trapezoid(fm.contraction_rate(SYSTEM, run, metric=METRIC), times)
    np.testing.assert_allclose(mean, o["results"]["integral_rate_0_3"], atol=1e-5)

    def end(x):
        import diffrax

        return fm.simulate(SYSTEM, x, ts=times[-1:], t1=3.0, rtol=1e-10, adjoint=diffrax.DirectAdjoint()).ys[-1]

    moved = jax.jvp(end, (x0,), (v0,))[1]
    length = METRIC.at(3.0).norm(jnp.asarray(run.ys[-1]), moved)
    np.testing.assert_allclose(length, o["results"]["variational_norm_M_t3"], atol=1e-6)
    assert length <= np.exp(-mean) * METRIC.at(0.0).norm(x0, v0)


def test_rates_compose_with_jit_and_vmap():
    flow = toggle()
    states = {"u": jnp.asarray([0.5, 1.0, 20.0]), "v": jnp.asarray([8.0, 3.0, 0.5])}
    one_by_one = [fm.contraction_rate(flow, jax.tree.map(lambda leaf, i=i: leaf[i], states)) for i in range(3)]
    together = jax.jit(jax.vmap(lambda y: fm.contraction_rate(flow, y)))(states)
    np.testing.assert_allclose(together, one_by_one, rtol=1e-12)


def test_an_inertial_flow_is_measured_in_phase_space():
    """x'' + 0.5 x' + x: the symmetric part of [[0, 1], [-1, -0.5]] is diag(0, -0.5)."""
    flow = fm.InertialFlow(lambda y, args: jnp.sum(y**2) / 2, damping=0.5)
    state = (jnp.ones(1), jnp.zeros(1))
    np.testing.assert_allclose(fm.contraction_rate(flow, state), 0.0, atol=1e-12)
    better = fm.ConstantMetric(np.asarray([[1.0, 0.25], [0.25, 1.0]]))
    assert fm.contraction_rate(flow, state, metric=better) > 0.1


def test_rates_keep_float32():
    y = jnp.asarray([0.7, -0.4], dtype=jnp.float32)
    flow = fm.GradientFlow(generic_potential, fm.DenseMetric(generic_mass))
    rate = fm.contraction_rate(flow, y)
    assert rate.dtype == jnp.float32
    np.testing.assert_allclose(rate, fm.contraction_rate(flow, y.astype(jnp.float64)), rtol=1e-4)
    assert fm.generalized_jacobian(flow, y).dtype == jnp.float32


def test_a_metric_that_is_none_gives_nan():
    flow = fm.VectorField(lambda t, y, args: -y)
    metric = fm.DenseMetric(lambda y, args: jnp.asarray([[1.0, 2.0], [2.0, 1.0]]))
    assert np.isnan(fm.contraction_rate(flow, jnp.ones(2), metric=metric))


def test_metric_and_factor_exclude_each_other():
    for call in (fm.contraction_rate, fm.generalized_jacobian):
        with pytest.raises(ValueError, match="`metric` or `factor`, not both"):
            call(SYSTEM, jnp.ones(2), metric=METRIC, factor=theta)
    with pytest.raises(ValueError, match=r"\(2, 2\) matrix"):
        fm.contraction_rate(SYSTEM, jnp.ones(2), factor=np.eye(3))
