"""Step limits: of gradient flows by curvature, of other fields by all eigenvalues, and what has none."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg

import flowmod as fm
from flowmod.discrete import leading_curvature, step_limit
from tests.zoo import STATE_DEPENDENT


def bowl(y, H):
    return y @ H @ y / 2


def quadratic(M):
    """One potential for all of them, because another one would be another program."""
    return fm.GradientFlow(bowl, fm.ConstantMetric(np.asarray(M)))


def test_the_quadratic_flow_of_the_oracle(oracle):
    o = oracle("o07_quadratic_flow")
    H, M, y = jnp.asarray(o["inputs"]["H"]), np.asarray(o["inputs"]["M"]), jnp.asarray(o["inputs"]["x0"])
    np.testing.assert_allclose(step_limit(quadratic(M), y, args=H), o["results"]["euler_limit"], rtol=1e-11)
    plain = step_limit(quadratic(np.eye(3)), y, args=H)
    np.testing.assert_allclose(plain, o["results"]["euler_limit_if_M_ignored"], rtol=1e-11)
    mode = leading_curvature(quadratic(M), y, args=H)
    np.testing.assert_allclose(mode.value, o["results"]["generalised_eigs"][-1], rtol=1e-11)
    np.testing.assert_allclose(H @ mode.vector, mode.value * M @ mode.vector, atol=1e-10)


def test_limits_of_the_oracle(oracle):
    o = oracle("o10_step_limits")
    flow, H, y = quadratic(o["inputs"]["M"]), jnp.asarray(o["inputs"]["H"]), jnp.ones(2)
    np.testing.assert_allclose(step_limit(flow, y, args=H), o["results"]["euler_limit"], rtol=1e-9)
    heavy = step_limit(flow, y, "heavy_ball", momentum=0.9, args=H)
    np.testing.assert_allclose(heavy, o["results"]["heavy_ball_limit_beta0p9"], rtol=1e-9)


@pytest.mark.parametrize("name", ["arm", "generic"])
def test_curvature_in_a_metric_that_depends_on_the_state(name):
    potential, mass, y0 = STATE_DEPENDENT[name]
    y = jnp.asarray(y0)
    H, M = jax.hessian(lambda y: potential(y, None))(y), mass(y, None)
    values = scipy.linalg.eigh(H, M, eigvals_only=True)
    flow = fm.GradientFlow(potential, fm.DenseMetric(mass))
    np.testing.assert_allclose(leading_curvature(flow, y).value, values[-1], rtol=1e-10)
    # Negative control: without the metric it is another number.
    assert abs(np.linalg.eigvalsh(H)[-1] / values[-1] - 1) > 1e-2


def test_a_perturbation_of_a_minimiser_decays_just_below_the_limit():
    """Natural gradient descent itself, at a critical point of a metric that moves with the state."""
    potential, mass, _ = STATE_DEPENDENT["exponential"]
    flow = fm.GradientFlow(lambda y, args: potential(y - 0.4, args), fm.DenseMetric(mass))
    y = jnp.full(3, 0.4)
    mode, limit = leading_curvature(flow, y), step_limit(flow, y)
    step = jax.jit(lambda z, h: z + h * flow.vector_field(0.0, z))
    for factor in (0.99, 1.01):
        moved = y + 1e-7 * mode.vector
        for _ in range(60):
            moved = step(moved, factor * limit)
        assert (jnp.abs(moved - y).max() > 1e-7 * jnp.abs(mode.vector).max()) == (factor > 1)


def test_an_equinox_network_under_jit_and_in_float32():
    net = eqx.nn.MLP(3, 2, 6, 1, activation=jnp.tanh, key=jax.random.key(1), dtype=jnp.float64)
    x = jax.random.normal(jax.random.key(2), (20, 3))

    def potential(net, x):
        return jnp.mean((jax.vmap(net)(x) - jnp.sin(x[:, :2])) ** 2)

    flow = fm.GradientFlow(potential)
    limit = step_limit(flow, net, args=x)
    leaves, static = eqx.partition(net, eqx.is_inexact_array)
    flat, unravel = jax.flatten_util.ravel_pytree(leaves)
    H = jax.jit(jax.hessian(lambda flat: potential(eqx.combine(unravel(flat), static), x)))(flat)
    np.testing.assert_allclose(limit, 2 / np.linalg.eigvalsh(H)[-1], rtol=1e-10)
    direction = leading_curvature(flow, net, args=x).vector
    assert jax.tree.structure(direction) == jax.tree.structure(eqx.filter(net, eqx.is_inexact_array))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, net)
    narrow = eqx.filter_jit(lambda net, x: step_limit(flow, net, args=x))(single, x.astype(jnp.float32))
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, limit, rtol=1e-4)


def test_a_moving_metric_is_taken_at_its_time_and_refused_where_it_is_none():
    metric = fm.MovingMetric(lambda t, y, args: (1 + t) * jnp.asarray([[1.0, 0.5], [0.5, 1.0]]))
    flow, y, H = fm.GradientFlow(bowl, metric), jnp.ones(2), jnp.eye(2)
    np.testing.assert_allclose(step_limit(flow, y, t=3.0, args=H), 2 * 4 * 0.5)
    with pytest.raises(ValueError, match=r"`y` must be a state at which .* or a metric that is none"):
        step_limit(flow, y, t=-2.0, args=H)


def kinked(y, slopes):
    return slopes[0] * jnp.sum(y**2) + slopes[1] * jnp.sum(jnp.abs(y))


def test_no_positive_curvature_is_no_limit_and_none_at_all_or_one_that_is_unknown_is_refused():
    flow, y = fm.GradientFlow(kinked), jnp.ones(2)
    assert step_limit(flow, y, args=jnp.asarray([-1.0, 0.0])) == jnp.inf
    flat, unknown = jnp.asarray([0.0, 1.0]), jnp.asarray([jnp.nan, 1.0])
    with pytest.raises(ValueError, match=r"`flow` must have a potential with curvature at `y`.*Smooth it"):
        step_limit(flow, y, args=flat)
    for method in ("euler", "implicit_euler"):
        with pytest.raises(ValueError, match="`y` must be a state at which potential, second derivatives and metric"):
            step_limit(flow, y, method, args=unknown)
    inside = jax.jit(lambda slopes: step_limit(flow, y, "implicit_euler", args=slopes))
    np.testing.assert_array_equal([inside(flat), inside(unknown), inside(1 - flat)], [np.nan, np.nan, np.inf])
    with pytest.raises(ValueError, match="`flow` must have a finite Jacobian at `y`, and that of this VectorField"):
        step_limit(fm.VectorField(lambda t, y, args: jnp.log(y)), -jnp.ones(2))


@jax.custom_vjp
def one_sided(y):
    return jnp.sum(y**2)


one_sided.defvjp(lambda y: (one_sided(y), y), lambda y, g: (gradient_only(2 * g * y),))


@jax.custom_vjp
def gradient_only(y):
    return y


gradient_only.defvjp(lambda y: (y, None), lambda _, g: (g,))


def test_a_potential_without_second_derivatives_is_named():
    flow = fm.GradientFlow(lambda y, args: one_sided(y))
    assert np.all(flow.vector_field(0.0, jnp.ones(2)) == -2)
    with pytest.raises(ValueError, match=r"`potential` must have second derivatives.*`jax.custom_jvp`"):
        step_limit(flow, jnp.ones(2))
    # What is wrong with the gradient itself is not called a second derivative.
    with pytest.raises(ValueError, match="`potential` must return a scalar"):
        leading_curvature(fm.GradientFlow(lambda y, args: y), jnp.ones(2))


# --- fields without a potential ---


LINEAR = fm.VectorField(lambda t, y, A: A @ y)


def linear(A):
    return LINEAR, jnp.asarray(A)


def rotation(decay, frequency):
    return [[-decay, -frequency], [frequency, -decay]]


def test_a_damped_rotation_in_closed_form():
    flow, A = linear(rotation(0.3, 2.0))
    y = jnp.ones(2)
    np.testing.assert_allclose(step_limit(flow, y, args=A), 2 * 0.3 / (0.3**2 + 2**2), rtol=1e-12)
    # Negative control: its modulus, or its decay, as if they were a curvature.
    assert step_limit(flow, y, args=A) < 0.2 * 2 / abs(complex(0.3, 2))
    assert step_limit(flow, y, "implicit_euler", args=A) == np.inf
    single = step_limit(flow, y.astype(jnp.float32), args=A.astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, 2 * 0.3 / (0.3**2 + 2**2), rtol=1e-5)


def test_an_undamped_oscillation_and_one_that_grows():
    y = jnp.ones(2)
    flow, A = linear(rotation(0.0, 2.0))
    np.testing.assert_allclose(step_limit(flow, y, "rk4", args=A), 8**0.5 / 2, rtol=1e-10)
    assert step_limit(flow, y, "euler", args=A) == 0
    for method in ("euler", "rk4", "implicit_euler", "tsit5"):
        assert step_limit(flow, y, method, args=jnp.asarray(rotation(-1e-3, 2.0))) == 0


def test_eigenvalues_of_zero_set_no_limit():
    """Two leaky units that exchange: what one gives the other takes, and the sum of all three stays."""
    flow, A = linear([[-1.0, 2.0, 0.0], [1.0, -2.0, 1e-3], [0.0, 0.0, -1e-3]])
    assert abs(np.linalg.eigvals(A)).min() < 1e-15
    np.testing.assert_allclose(step_limit(flow, jnp.ones(3), args=A), 2 / 3, rtol=1e-12)
    assert step_limit(flow, jnp.ones(3), args=0 * A) == np.inf


def step_matrix(method, A, h, beta=0.5):
    """A step of a linear field as one matrix, with the step before where there is momentum."""
    eye, zero = np.eye(len(A)), np.zeros_like(A)
    z = h * A
    if method == "euler":
        return eye + z
    if method == "rk4":
        return eye + z @ (eye + z / 2 @ (eye + z / 3 @ (eye + z / 4)))
    if method == "heavy_ball":
        return np.block([[(1 + beta) * eye + z, -beta * eye], [eye, zero]])
    if method == "nesterov":
        return np.block([[(1 + beta) * (eye + z), -beta * (eye + z)], [eye, zero]])
    return np.block([[eye + (1 - beta) * z, beta * h * eye], [(1 - beta) * A, beta * eye]])  # of y and m


def test_random_fields_decay_below_their_limit_and_grow_above():
    rng = np.random.default_rng(5)
    for method in ("euler", "rk4", "heavy_ball", "nesterov", "ema"):
        momentum = None if method in ("euler", "rk4") else 0.5
        for _ in range(6):
            A = rng.normal(size=(5, 5))
            A -= (np.linalg.eigvals(A).real.max() + rng.uniform(0.1, 2)) * np.eye(5)
            limit = float(step_limit(LINEAR, jnp.ones(5), method, args=jnp.asarray(A), momentum=momentum))
            radii = [
                abs(np.linalg.eigvals(step_matrix(method, A, h))).max() for h in np.linspace(0.02, 0.9999, 20) * limit
            ]
            assert max(radii) < 1
            assert abs(np.linalg.eigvals(step_matrix(method, A, 1.0001 * limit))).max() > 1


def test_a_symmetric_field_and_the_gradient_flow_that_it_is_agree(oracle):
    o = oracle("o10_step_limits")
    H, M = np.asarray(o["inputs"]["H"]), np.asarray(o["inputs"]["M"])
    field, A = linear(-np.linalg.solve(M, H))
    y = jnp.ones(2)
    for method, momentum in (("euler", None), ("dopri5", None), ("heavy_ball", 0.9), ("ema", 0.9)):
        by_curvature = step_limit(quadratic(M), y, method, momentum=momentum, args=jnp.asarray(H))
        by_spectrum = step_limit(field, y, method, args=A, momentum=momentum)
        np.testing.assert_allclose(by_spectrum, by_curvature, rtol=1e-9)
        assert by_spectrum != by_curvature


def test_inertia_makes_a_spectrum_complex():
    """`y'' + g y' + k y = 0` in the steps of RK4, against the same written as a matrix."""
    damping, stiffness = 0.4, 9.0
    flow = fm.InertialFlow(lambda y, args: stiffness * jnp.sum(y**2) / 2, damping=damping)
    limit = float(step_limit(flow, (jnp.ones(1), jnp.zeros(1)), "rk4"))
    A = np.array([[0.0, 1.0], [-stiffness, -damping]])
    radii = [abs(np.linalg.eigvals(step_matrix("rk4", A, factor * limit))).max() for factor in (0.999, 1.001)]
    assert radii[0] < 1 < radii[1]
    with pytest.raises(ValueError, match='`method="nesterov"` is for flows of first order, got InertialFlow'):
        step_limit(flow, (jnp.ones(1), jnp.zeros(1)), "nesterov", momentum=0.5)


def test_fields_that_can_not_be_answered_for():
    flow = fm.VectorField(lambda t, y, args: -y)
    with pytest.raises(ValueError, match=r"must be a `fm.GradientFlow` for the 1001 numbers.*up to 1000"):
        step_limit(flow, jnp.ones(1001))
    with pytest.raises(ValueError, match="`y` is traced, and the eigenvalues of a field, such as this VectorField"):
        jax.jit(lambda y: step_limit(flow, y))(jnp.ones(2))


@pytest.mark.parametrize(
    "flow",
    [
        fm.VectorField(lambda t, y, args: -3 * y),
        # It says that it descends a potential in a metric, whose curvature is another.
        fm.VectorField(lambda t, y, args: -3 * y, fm.Euclidean(), lambda y, args: jnp.sum(y**2) / 2),
    ],
)
def test_what_is_no_gradient_flow_has_the_limit_of_its_jacobian(flow):
    y = jnp.ones(2)
    with pytest.raises(ValueError, match=r"`flow` must be a `fm.GradientFlow`, got VectorField, .*take `limit.flow`"):
        leading_curvature(flow, y)
    np.testing.assert_allclose(step_limit(flow, y), 2 / 3, rtol=1e-12)
    np.testing.assert_allclose(step_limit(flow, y, "heavy_ball", momentum=0.5), 3 / 3, rtol=1e-9)


def test_decay_beside_adams_metric_and_a_frozen_leaf_count_as_what_they_do():
    bowl_of = {"a": 500.0, "b": 0.5}

    def potential(y, args):
        return sum(bowl_of[name] * jnp.sum(leaf**2) for name, leaf in y.items())

    labels = {"a": "still", "b": "moved"}
    adamw = fm.flow_of(optax.adamw(1e-2, eps=1.0, weight_decay=50.0), potential)
    np.testing.assert_allclose(step_limit(adamw, {"b": jnp.zeros(1)}), 2 / (1 + 50), rtol=1e-9)
    y = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    frozen = fm.flow_of(optax.partition({"still": optax.set_to_zero(), "moved": optax.sgd(0.1)}, labels), potential, y)
    np.testing.assert_allclose(step_limit(frozen, y), 2.0, rtol=1e-9)
    unknown = fm.flow_of(optax.adam(1e-2, eps=1.0), lambda y, args: jnp.sum(jnp.log(y)))
    with pytest.raises(ValueError, match="`flow` must have a finite Jacobian at `y`"):
        step_limit(unknown, -jnp.ones(2))


def test_wrong_input_is_named():
    flow, y = fm.GradientFlow(lambda y, args: jnp.sum(y**2)), jnp.ones(2)
    with pytest.raises(ValueError, match=r'`method` must be one of "euler".*"nesterov".*, got .rk5.'):
        step_limit(flow, y, "rk5")
    with pytest.raises(ValueError, match=r"`flow` must be a `fm.GradientFlow`, got InertialFlow"):
        leading_curvature(fm.InertialFlow(flow.potential, damping=1.0), (y, y))
    with pytest.raises(ValueError, match="`flow` must be a flow, got function"):
        step_limit(lambda y: y, y)
