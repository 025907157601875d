"""What methods bear: by bisection of the optimizers themselves, diffrax's steps, oracles and companion matrices."""

import cmath

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg

import flowmod as fm
from flowmod.discrete.limits._characteristic import METHODS, characteristic
from flowmod.discrete.limits._stable_radius import stable_radius

RUNGE_KUTTA = {
    "midpoint": diffrax.Midpoint,
    "ralston": diffrax.Ralston,
    "bosh3": diffrax.Bosh3,
    "dopri5": diffrax.Dopri5,
    "tsit5": diffrax.Tsit5,
    "dopri8": diffrax.Dopri8,
}
MOMENTUM = {"heavy_ball": 0.8, "nesterov": 0.8, "ema": 0.8}


def quadratic(oracle):
    """Hessian, mass, leading curvature and its eigenvector of oracle o10."""
    inputs = oracle("o10_step_limits")["inputs"]
    H, M = np.asarray(inputs["H"]), np.asarray(inputs["M"])
    values, vectors = scipy.linalg.eigh(H, M)
    return jnp.asarray(H), M, values[-1], jnp.asarray(vectors[:, -1])


def bowl(y, H):
    return y @ H @ y / 2


def factor_of_optimizer(make, gradient, y0, steps):
    """By what the last one of some updates multiplies the part along `y0`, as a compiled function of the step size."""

    @jax.jit
    def factor(h):
        optimizer = make(h)

        def step(carry, _):
            y, state = carry
            updates, state = optimizer.update(gradient(y), state, y)
            return (optax.apply_updates(y, updates), state), None

        start, _ = jax.lax.scan(step, (y0, optimizer.init(y0)), length=steps - 1)
        (end, _), _ = step(start, None)
        return jnp.abs(jnp.sum(gradient(y0) * end)) / jnp.abs(jnp.sum(gradient(y0) * start[0]))

    return factor


def by_bisection(factor, guess):
    """The step at which a factor passes one, to 1e-8."""
    low, high = 0.8 * guess, 1.2 * guess
    assert factor(low) < 1 < factor(high)
    for _ in range(26):
        middle = (low + high) / 2
        low, high = (middle, high) if factor(middle) < 1 else (low, middle)
    return low


OPTIMIZERS = {
    "euler": lambda flow, h, H: fm.discretize(flow, h, args=H),
    "heun": lambda flow, h, H: fm.discretize(flow, h, "heun", args=H),
    "rk4": lambda flow, h, H: fm.discretize(flow, h, "rk4", args=H),
    "geodesic": lambda flow, h, H: fm.discretize(flow, h, "geodesic", args=H),
    "retraction": lambda flow, h, H: fm.discretize(flow, h, "retraction", args=H),
    "mirror": lambda flow, h, H: fm.discretize(flow, h, "mirror", args=H),
    "heavy_ball": lambda flow, h, H: fm.discretize(flow, h, "heavy_ball", momentum=0.8, args=H),
    "nesterov": lambda flow, h, H: fm.discretize(flow, h, "nesterov", momentum=0.8, args=H),
}


@pytest.mark.parametrize("method", list(OPTIMIZERS))
def test_the_limits_of_the_optimizers_themselves(oracle, method):
    H, M, largest, leading = quadratic(oracle)

    metric = fm.ConstantMetric(M)
    if method == "mirror":
        # The potential's args go to the metric too, so that its mass is the one that it is made with.
        mass = jnp.asarray(M)
        metric = fm.HessianMetric(lambda y, args: y @ mass @ y / 2, lambda dual, args: jnp.linalg.solve(mass, dual))
    flow, momentum = fm.GradientFlow(bowl, metric), MOMENTUM.get(method)
    # Until the faster root has died out, but not the slower one below the rounding of the other direction.
    steps = 1 if momentum is None else {"nesterov": 40}.get(method, 400)
    factor = factor_of_optimizer(lambda h: OPTIMIZERS[method](flow, h, H), lambda y: H @ y, leading, steps)
    found = by_bisection(factor, fm.bears(method, momentum) / largest)
    np.testing.assert_allclose(fm.bears(method, momentum), found * largest, rtol=1e-7)


def ema(h, beta):
    return optax.chain(optax.ema(beta, debias=False), optax.scale(-h))


@pytest.mark.parametrize(
    ("method", "make"),
    [
        ("ema", lambda h: ema(h, 0.8)),
        ("heavy_ball", lambda h: optax.sgd(h, momentum=0.8)),
        ("nesterov", lambda h: optax.sgd(h, momentum=0.8, nesterov=True)),
    ],
)
def test_the_limits_of_optax(method, make):
    factor = factor_of_optimizer(make, lambda y: 3.0 * y, jnp.ones(1), 400)
    np.testing.assert_allclose(by_bisection(factor, fm.bears(method, 0.8) / 3), fm.bears(method, 0.8) / 3, rtol=1e-7)


@pytest.mark.parametrize("method", list(RUNGE_KUTTA))
def test_the_limits_of_diffrax(method):
    """One step of the solver itself, on the real axis and along a complex ray."""
    solver = RUNGE_KUTTA[method]()
    term = diffrax.ODETerm(lambda t, y, A: A @ y)

    @jax.jit
    def step(A):
        state = solver.init(term, 0.0, 1.0, jnp.asarray([1.0, 0.0]), A)
        return solver.step(term, 0.0, 1.0, jnp.asarray([1.0, 0.0]), A, state, made_jump=False)[0]

    for z in (-1.0, cmath.exp(2.2j)):
        turned = jnp.asarray([[z.real, -z.imag], [z.imag, z.real]])
        limit = stable_radius(characteristic(method, None), z)
        found = by_bisection(lambda r, turned=turned: jnp.linalg.norm(step(r * turned)), limit)
        np.testing.assert_allclose(limit, found, rtol=1e-7)


def test_limits_and_polynomials_of_the_oracle(oracle):
    results = oracle("o10_step_limits")["results"]
    for beta, limits in results["momentum_limits_q"].items():
        for method, name in (("heavy_ball", "heavy_ball"), ("ema", "ema_momentum"), ("nesterov", "nesterov")):
            np.testing.assert_allclose(fm.bears(method, float(beta)), limits[name], rtol=1e-9)
    names = {"heun2_midpoint_ralston": ("heun", "midpoint", "ralston"), "rk3_bosh3": ("bosh3",)}
    for name, row in results["rk"].items():
        for method in names.get(name, (name,)):
            np.testing.assert_allclose(fm.bears(method), row["real_axis_limit"], rtol=1e-9)
            ours = -characteristic(method, None)[0]
            count = len(row["stability_poly"])
            np.testing.assert_allclose(ours[:count], row["stability_poly"], atol=1e-14)
            np.testing.assert_allclose(ours[count:], 0, atol=1e-14)
    np.testing.assert_allclose(fm.bears("dopri8"), 5.166633619968107, rtol=1e-9)


def test_implicit_methods_bear_everything_and_damp_a_saddle_wrongly(oracle):
    saddle = oracle("o10_step_limits")["results"]["implicit_euler_on_saddle"]
    assert fm.bears("implicit_euler") == fm.bears("minimizing_movement") == np.inf
    flow, y = fm.GradientFlow(bowl), jnp.ones(1)

    @jax.jit
    def step(h, curvature):
        optimizer = fm.discretize(flow, h, "implicit_euler", args=curvature)
        return y + optimizer.update(curvature @ y, optimizer.init(y), y)[0]

    np.testing.assert_allclose(step(1e3, jnp.eye(1)), 1 / (1 + 1e3), rtol=1e-6)
    # The saddle repels: a small step knows, and a large one, with q = -3, leads back to it.
    for h, name in ((0.5, "h_0p5_factor"), (3.0, "h_3_factor")):
        np.testing.assert_allclose(step(h, saddle["lam"] * jnp.eye(1)), saddle[name], rtol=1e-9)


def growth(method, momentum, z):
    """The largest root, from the step written as a matrix: nothing of ours in it."""
    if momentum is None:
        numerator, denominator = characteristic(method, None)
        return abs(np.polyval(numerator[::-1], z) / np.polyval(denominator[::-1], z))
    beta = momentum
    steps = {
        "heavy_ball": [[1 + beta + z, -beta], [1, 0]],
        "nesterov": [[(1 + beta) * (1 + z), -beta * (1 + z)], [1, 0]],
        "ema": [[1 + (1 - beta) * z, beta * z], [1 - beta, beta]],  # of y and m / lambda
    }
    return np.abs(np.linalg.eigvals(np.array(steps[method]))).max()


@pytest.mark.parametrize("method", METHODS)
def test_complex_rays_are_stable_up_to_their_limit_and_not_beyond(method):
    momentum = MOMENTUM.get(method)
    of = characteristic(method, momentum)
    for angle in np.random.default_rng(3).uniform(np.pi / 2 + 0.01, np.pi, 12):
        ray = cmath.exp(1j * angle)
        radius = stable_radius(of, ray)
        inside = np.linspace(0, min(radius, 100), 60)[1:] * (1 - 1e-9)
        assert max(growth(method, momentum, r * ray) for r in inside) <= 1 + 1e-13
        if np.isfinite(radius):
            assert growth(method, momentum, radius * (1 + 1e-6) * ray) > 1
        assert stable_radius(of, ray.conjugate()) == pytest.approx(radius, rel=1e-12)


def test_the_limit_of_the_real_axis_is_not_that_of_the_plane():
    for method in ("euler", "heun", "tsit5", "heavy_ball", "nesterov", "ema"):
        momentum = MOMENTUM.get(method)
        assert growth(method, momentum, fm.bears(method, momentum) * cmath.exp(1.7j)) > 1


def test_on_the_imaginary_axis_the_lowest_power_decides():
    """Closed forms: what is left there of the method's order, where all other terms cancel up to rounding."""
    radii = {"rk4": 8**0.5, "bosh3": 3**0.5, "euler": 0.0, "heun": 0.0, "implicit_euler": np.inf}
    for method, radius in radii.items():
        assert stable_radius(characteristic(method, None), 1j) == pytest.approx(radius, abs=1e-12)
    assert stable_radius(characteristic("rk4", None), 1.0) == 0.0


def test_a_gap_ends_what_is_stable():
    """`R(s) = 1 - 0.3 s (s - 1)(s - 2)` is above one between 1 and 2, and below again further out."""
    of = (-np.array([1.0, -0.6, 0.9, -0.3]), np.array([1.0, 0.0]))
    assert stable_radius(of, 1.0) == pytest.approx(1.0, rel=1e-12)


def test_wrong_methods_and_momenta_are_named():
    with pytest.raises(ValueError, match=r'`method` must be one of "euler".*"nesterov", got .rk5.'):
        fm.bears("rk5")
    with pytest.raises(ValueError, match='`method="heavy_ball"` needs its `momentum=`, a number'):
        fm.bears("heavy_ball")
    with pytest.raises(ValueError, match=r'`momentum` is for "heavy_ball".*"nesterov", got 0.9 with "euler"'):
        fm.bears("euler", 0.9)
    for momentum in (1.0, -0.1, float("nan"), "0.9", np.ones(2)):
        with pytest.raises(ValueError, match=r"`momentum` must be a number in \[0, 1\)"):
            fm.bears("nesterov", momentum)


def test_a_momentum_of_one_up_to_rounding():
    assert fm.bears("heavy_ball", 1 - 1e-13) == pytest.approx(4)
    assert fm.bears("nesterov", 1 - 1e-13) == pytest.approx(4 / 3)
