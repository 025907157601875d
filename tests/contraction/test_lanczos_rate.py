"""Rates without matrices: every product by hand, and Lanczos against the dense route, in every kind of metric."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import flowmod as fm
from flowmod.contraction import _extremes, leading_mode
from flowmod.contraction._pencil import pencil_products
from flowmod.contraction.jacobian import linearise, unless_own
from flowmod.linalg import extreme_eigenpairs, leading_eigenpair, random_start
from flowmod.metric import inverse_at
from tests.zoo import STATE_DEPENDENT

N = 40
KEYS = jax.random.split(jax.random.key(20260304), 6)
A, B, C = (np.asarray(jax.random.normal(key, (N, N), jnp.float32), np.float64) / N**0.5 for key in KEYS[:3])
Y = np.asarray(jax.random.normal(KEYS[3], (N,), jnp.float32), np.float64)


def potential(y, args):
    """A network's loss in no symmetry."""
    return jnp.sum(jnp.tanh(C.astype(y.dtype) @ jnp.tanh(B.astype(y.dtype) @ y)) ** 2) + 0.05 * jnp.sum(y**4)


def mass(y, args):
    a = A.astype(y.dtype) * jnp.cos(y)[:, None] + 0.3 * B.astype(y.dtype)
    return jnp.eye(N, dtype=y.dtype) + a.T @ a


def moving_mass(t, y, args):
    # A float32 state has a float32 time.
    return jnp.exp(0.3 * jnp.asarray(t, y.dtype)) * mass(y, args)


FLOW = fm.GradientFlow(potential, fm.DenseMetric(mass))
ANNEALED = fm.GradientFlow(potential, fm.MovingMetric(moving_mass))
CIRCUIT = fm.VectorField(lambda t, y, args: jnp.tanh(3 * C @ y) * (1 + 0.1 * jnp.cos(t)) - y)
INERTIAL = fm.InertialFlow(potential, fm.DenseMetric(mass), damping=0.7)

CASES = {
    "its own metric": (FLOW, Y, None),
    "its own metric, named": (FLOW, Y, FLOW.metric),
    "a copy of its own metric": (FLOW, Y, fm.DenseMetric(mass)),
    "the Euclidean metric": (FLOW, Y, fm.Euclidean()),
    "another metric": (FLOW, Y, fm.DiagonalMetric(lambda y, args: 1 + y**2)),
    "a constant metric": (fm.GradientFlow(potential, fm.ConstantMetric(A @ A.T + np.eye(N))), Y, None),
    "its own moving metric": (ANNEALED, Y, None),
    "another moving metric": (CIRCUIT, Y, fm.MovingMetric(moving_mass)),
    "no gradient flow": (CIRCUIT, Y, None),
    "no gradient flow in a metric": (CIRCUIT, Y, fm.DenseMetric(mass)),
    "an inertial flow": (INERTIAL, (Y, 0.5 * Y[::-1]), None),
}


def test_the_two_routes_are_not_one():
    states = [Y * scale for scale in (0.5, 0.8, 1.1, 1.4)]
    routes = [[fm.contraction_rate(FLOW, y, method=method) for y in states] for method in ("dense", "lanczos")]
    assert routes[0] != routes[1], "bit-identical: the dense route was tested with itself"


@pytest.mark.parametrize("name", list(STATE_DEPENDENT))
def test_small_states(name):
    potential, mass, y0 = STATE_DEPENDENT[name]
    flow = fm.GradientFlow(potential, fm.DenseMetric(mass))
    dense = fm.contraction_rate(flow, jnp.asarray(y0), method="dense")
    np.testing.assert_allclose(fm.contraction_rate(flow, jnp.asarray(y0), method="lanczos"), dense, rtol=1e-8)


@pytest.mark.parametrize("case", list(CASES))
def test_products_and_rate_are_those_of_the_formed_pencil(case):
    flow, y, metric = CASES[case]
    measure = metric or (flow.metric if flow is not INERTIAL and flow.metric else fm.Euclidean())
    y = jax.tree.map(jnp.asarray, y)

    @eqx.filter_jit
    def both(y, d, g):
        lin = linearise(flow, 0.4, y, None, measure)
        pencil = pencil_products(flow, 0.4, y, None, metric)
        return lin.pencil, (pencil.product(d), pencil.mass(d), pencil.solve(g))

    n = sum(leaf.size for leaf in jax.tree.leaves(y))
    d, g = np.random.default_rng(1).normal(size=(2, n))
    (S, M), (product, momentum, solution) = both(y, d, g)
    np.testing.assert_allclose(product, S @ d, atol=1e-11)
    np.testing.assert_allclose(momentum, M @ d, atol=1e-12)
    np.testing.assert_allclose(M @ solution, g, atol=1e-11)
    free = fm.contraction_rate(flow, y, 0.4, metric=metric, method="lanczos")
    np.testing.assert_allclose(free, -scipy.linalg.eigh(S, M, eigvals_only=True)[-1], rtol=1e-8)


def test_a_gradient_flow_in_its_own_metric_differentiates_no_solve():
    """Also where the metric is named, and where the flow puts it together at each access."""
    for metric in (None, FLOW.metric):
        assert unless_own(FLOW, metric) is None
    assert unless_own(FLOW, fm.DenseMetric(lambda y, args: mass(y, args))) is not None
    assert unless_own(CIRCUIT, fm.Euclidean()) is not None

    @jax.custom_jvp
    def solve(m, g):
        return jnp.linalg.solve(m, g)

    @solve.defjvp
    def _(primals, tangents):
        raise NotImplementedError("a solve was differentiated")

    class Unsolvable(fm.AbstractMetric):
        def __call__(self, y, args=None):
            return fm.DenseMetric(mass)(y, args)

        def flat(self, y, vector, args=None):
            return fm.DenseMetric(mass).flat(y, vector, args)

        def sharp(self, y, covector, args=None):
            return solve(mass(y, args), covector)

        def at(self, t):
            return self

    flow = fm.GradientFlow(potential, Unsolvable())
    expected = fm.contraction_rate(FLOW, Y, method="dense")
    np.testing.assert_allclose(fm.contraction_rate(flow, Y, method="lanczos"), expected, rtol=1e-8)
    with pytest.raises(NotImplementedError, match="a solve was differentiated"):
        fm.contraction_rate(flow, Y, method="dense")


def wrong_products(y):
    """What three slips would make of the pencil of `CIRCUIT` in a metric that depends on the state."""
    lin = linearise(CIRCUIT, 0.4, jnp.asarray(y), None, fm.DenseMetric(mass))
    J, M, rate = lin.jacobian, lin.metric, lin.metric_rate
    return M, {
        "right": lambda d: (rate @ d + M @ (J @ d) + J.T @ (M @ d)) / 2,
        "the metric stands still": lambda d: (M @ (J @ d) + J.T @ (M @ d)) / 2,
        "a transposed Jacobian": lambda d: (rate @ d + M @ (J @ d) + J @ (M @ d)) / 2,
        "the metric in one place only": lambda d: (rate @ d + M @ (J @ d) + J.T @ d) / 2,
    }


def test_negative_controls_each_slip_gives_another_rate():
    M, products = wrong_products(Y)
    factor = jax.scipy.linalg.cho_factor(M)
    start = random_start(N, M.dtype)

    def rate(product):
        solve = lambda g: jax.scipy.linalg.cho_solve(factor, g)  # noqa: E731
        return -leading_eigenpair(product, lambda d: M @ d, solve, start).value

    expected = fm.contraction_rate(CIRCUIT, Y, 0.4, metric=fm.DenseMetric(mass), method="dense")
    found = {name: float(rate(product)) for name, product in products.items()}
    np.testing.assert_allclose(found.pop("right"), expected, rtol=1e-8)
    for name, other in found.items():
        assert abs(other / expected - 1) > 1e-3, name


def test_negative_control_a_metric_that_moves_by_itself_counts_half():
    """`M = exp(0.3 t) M(y)` stretches lengths at the rate 0.15, and slows the flow down."""
    slowed = np.exp(-0.3 * 0.4)
    still = fm.contraction_rate(FLOW, Y, method="lanczos")
    moving = fm.contraction_rate(ANNEALED, Y, 0.4, method="lanczos")
    np.testing.assert_allclose(moving, slowed * still - 0.15, rtol=1e-8)


def test_auto_is_dense_for_small_states_and_lanczos_for_large_ones():
    def mirror(v):  # so that two routes to one number differ in its last bits
        normal = jnp.sin(jnp.arange(1.0, 1 + v.size))
        return v - 2 * normal * jnp.sum(normal * v) / jnp.sum(normal**2)

    flow = fm.VectorField(lambda t, y, args: -mirror(mirror(y) * jnp.linspace(jnp.pi, 7, y.size)))
    for n, method in ((60, "dense"), (400, "lanczos")):
        y = jnp.ones(n)
        assert fm.contraction_rate(flow, y) == fm.contraction_rate(flow, y, method=method)
    y = jnp.ones(400)
    assert fm.contraction_rate(flow, y) != fm.contraction_rate(flow, y, method="dense")
    np.testing.assert_allclose(fm.contraction_rate(flow, y), fm.contraction_rate(flow, y, method="dense"), rtol=1e-8)


def test_along_a_trajectory_and_under_transformations():
    run = fm.simulate(FLOW, jnp.asarray(Y), ts=np.linspace(0, 1, 5))
    dense = fm.contraction_rate(FLOW, run, method="dense")
    np.testing.assert_allclose(fm.contraction_rate(FLOW, run, method="lanczos"), dense, rtol=1e-8)
    ys = jnp.asarray(run.ys)
    mapped = jax.jit(lambda ys: jax.lax.map(lambda y: fm.contraction_rate(FLOW, y, method="lanczos"), ys))(ys)
    np.testing.assert_allclose(mapped, dense, rtol=1e-8)


def network(dtype=jnp.float64):
    return eqx.nn.MLP(4, 2, 9, 1, activation=jnp.tanh, key=KEYS[4], dtype=dtype)


def test_an_equinox_network_with_leaves_that_are_no_arrays():
    net = network()
    x = jax.random.normal(KEYS[5], (30, 4), jnp.float64)
    flow = fm.GradientFlow(lambda net, x: jnp.mean((jax.vmap(net)(x) - jnp.sin(x[:, :2])) ** 2))
    dense = fm.contraction_rate(flow, net, args=x, method="dense")
    np.testing.assert_allclose(fm.contraction_rate(flow, net, args=x, method="lanczos"), dense, rtol=1e-8)
    run = fm.simulate(flow, net, t1=1.0, ts=np.asarray([0.0, 1.0]), args=x)
    along = fm.contraction_rate(flow, run, args=x, method="lanczos")
    np.testing.assert_allclose(along[0], dense, rtol=1e-8)


def test_the_mode_is_the_direction_of_the_eigenvalue():
    mode = leading_mode(FLOW, jnp.asarray(Y))
    lin = linearise(FLOW, 0.0, jnp.asarray(Y), None, fm.DenseMetric(mass))
    S, M = lin.pencil
    values = scipy.linalg.eigh(S, M, eigvals_only=True)
    np.testing.assert_allclose(mode.value, values[-1], rtol=1e-8)
    np.testing.assert_allclose(mode.scale, np.abs(values).max(), rtol=1e-2)
    np.testing.assert_allclose(S @ mode.vector, mode.value * M @ mode.vector, atol=1e-8)
    np.testing.assert_allclose(FLOW.metric.norm(Y, mode.vector), 1, rtol=1e-10)
    assert mode.residual < 1e-9 * mode.scale
    assert mode.converged
    assert 5 < mode.products <= N + 1


def test_the_mode_of_a_tree_is_a_tree():
    flow = fm.VectorField(lambda t, y, args: {"a": -y["a"], "b": -2 * y["b"]})
    mode = leading_mode(flow, {"a": jnp.ones(()), "b": jnp.ones((2, 2))})
    np.testing.assert_allclose(mode.value, -1.0, rtol=1e-12)
    np.testing.assert_allclose(jnp.abs(mode.vector["a"]), 1.0, rtol=1e-12)
    np.testing.assert_allclose(mode.vector["b"], np.zeros((2, 2)), atol=1e-12)


@pytest.mark.parametrize("case", ["its own metric", "another moving metric"])
def test_float32_stays_float32(case):
    flow, y, metric = CASES[case]
    if case == "another moving metric":
        flow = fm.VectorField(lambda t, y, args: jnp.tanh(C.astype(y.dtype) @ y) - y)
    single = jnp.asarray(y, jnp.float32)
    rate = fm.contraction_rate(flow, single, 0.4, metric=metric, method="lanczos")
    assert rate.dtype == jnp.float32
    expected = fm.contraction_rate(flow, y, 0.4, metric=metric, method="dense")
    np.testing.assert_allclose(rate, expected, rtol=1e-3, atol=1e-4)


NO_METRICS = {
    "indefinite": np.asarray([[1.0, 2.0], [2.0, 1.0]]),
    "not symmetric": np.asarray([[2.0, 1.0], [0.0, 2.0]]),
    "not finite": np.asarray([[1.0, 0.0], [0.0, np.nan]]),
}


@pytest.mark.parametrize("name", list(NO_METRICS))
@pytest.mark.parametrize("leaves", ["array", "tree"])
def test_a_metric_that_is_none_gives_nan(name, leaves):
    metric = fm.DenseMetric(lambda y, args: jnp.asarray(NO_METRICS[name]))
    y = jnp.ones(2) if leaves == "array" else {"a": jnp.ones(()), "b": jnp.ones(())}
    flow = fm.VectorField(lambda t, y, args: jax.tree.map(jnp.negative, y))
    assert np.isnan(fm.contraction_rate(flow, y, metric=metric, method="lanczos"))


METRICS = {
    "Euclidean": fm.Euclidean(),
    "dense": fm.DenseMetric(mass),
    "diagonal": fm.DiagonalMetric(lambda y, args: 1 + y**2),
    "constant": fm.ConstantMetric(A @ A.T + np.eye(N)),
}


@pytest.mark.parametrize("name", list(METRICS))
def test_a_factored_metric_is_its_sharp(name):
    metric, g = METRICS[name], jnp.cos(jnp.arange(float(N)))
    y = jnp.asarray(Y)
    np.testing.assert_allclose(inverse_at(metric, y)(g), metric.sharp(y, g), rtol=1e-10, atol=1e-12)
    traced = jax.jit(lambda y, g: inverse_at(metric, y)(g))(y, g)
    np.testing.assert_allclose(traced, metric.sharp(y, g), rtol=1e-10, atol=1e-12)


def test_a_weight_that_is_not_positive_gives_nan():
    metric = fm.DiagonalMetric(lambda y, args: y)
    solved = jax.jit(lambda y: inverse_at(metric, y)(jnp.ones(3)))(jnp.asarray([1.0, -1.0, 0.0]))
    np.testing.assert_array_equal(solved, [1.0, np.nan, np.nan])


def test_a_state_whose_lanczos_does_not_converge_raises_and_a_trajectory_has_nan(monkeypatch):
    """Five products for five hundred eigenvalues."""

    def short(*args, **kwargs):
        return extreme_eigenpairs(*args, **kwargs | {"most": 5})

    monkeypatch.setattr(_extremes, "extreme_eigenpairs", short)
    flow = fm.VectorField(lambda t, y, args: -y * jnp.linspace(1.0, 9.0, y.size))
    with pytest.raises(RuntimeError, match=r'did not converge in 6 products: the residual .* `method="dense"`'):
        fm.contraction_rate(flow, jnp.ones(500), method="lanczos")
    run = fm.simulate(flow, jnp.ones(500), ts=np.asarray([0.0, 0.1]))
    assert np.isnan(fm.contraction_rate(flow, run, method="lanczos")).all()


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match='`method` must be "auto", "dense" or "lanczos", got \'power\''):
        fm.contraction_rate(FLOW, Y, method="power")
    with pytest.raises(ValueError, match='`method="lanczos"` takes a `metric`'):
        fm.contraction_rate(FLOW, Y, factor=np.eye(N), method="lanczos")
    with pytest.raises(ValueError, match="`metric` must be a metric"):
        leading_mode(FLOW, Y, metric=np.eye(N))
    with pytest.raises(ValueError, match="`flow` must be a flow"):
        leading_mode(potential, Y)
