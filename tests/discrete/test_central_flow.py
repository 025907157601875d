"""Central flows against exact orbits, closed forms and long averages, and the cone program behind them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import flowmod as fm
from flowmod.discrete.central._edge_table import _smooth
from flowmod.discrete.central._leading import leading
from flowmod.discrete.central.complementarity import complementary, matrix, triangle

H = 0.1
EDGE = 2 / H
Y = 20.5
"""The toy's rest point of `y` without oscillation, above the edge: the exact orbit has `x^2 = 2 (Y - 2 / H)`."""


def toy(w, args):
    """`y x^2 / 2 + k (y - Y)^2 / 2` with k = 1: the curvature along `x` is `y` itself."""
    del args
    return w[1] * w[0] ** 2 / 2 + (w[1] - Y) ** 2 / 2


def pair(w, args):
    """Two of the toy, which a third curvature couples, and a mode that never is critical."""
    del args
    x, y, z, u = w[:2], w[2:4], w[4], w[5]
    return jnp.sum(y * x**2) / 2 + (y[0] - 20.5) ** 2 / 2 + (y[1] - 20.3) ** 2 / 2 + x[0] * x[1] * z + z**2 / 2 + u**2


def turned(w, factor):
    """The pair in the coordinates `factor^T w`."""
    return pair(factor.T @ w, None)


def in_coordinates(factor, metric, state):
    """The averaged motion of the pair in other coordinates and a constant metric: one program for all."""
    flow = fm.GradientFlow(turned, fm.ConstantMetric(jnp.asarray(metric)))
    return averaged(fm.central_flow(flow, H, directions=2), state, jnp.asarray(factor))


@eqx.filter_jit
def average(flow, w, args):
    return flow.average(0.0, w, args)


def averaged(flow, w, args=None):
    return jax.tree.map(np.asarray, average(flow, jnp.asarray(w), args))


def velocity(flow, w):
    """Of a central flow."""
    return averaged(flow, w)[0].velocity


# --- the complementarity problem ---


def problems(k, count, seed=0):
    """Random margins, and Gram matrices whose directions differ by decades."""
    rng = np.random.default_rng(seed)
    rows, columns = np.triu_indices(k)
    margins, grams = [], []
    for _ in range(count):
        margin = rng.normal(size=(k, k)) - 0.7 * np.eye(k)
        unit = 10.0 ** rng.uniform(-1, 1, size=k)
        factor = rng.normal(size=(len(rows), len(rows) + 2)) * (unit[rows] * unit[columns])[:, None]
        margins.append((margin + margin.T) / 2 * 10.0 ** rng.uniform(-3, 3))
        grams.append(factor @ factor.T * 10.0 ** rng.uniform(-3, 3))
    return np.array(margins), np.array(grams)


COUNT = 200
"""Of the problems that one program solves: fewer are repeated."""

solve_all = jax.jit(jax.vmap(complementary))


def solved(margins, grams):
    """The solutions of at most 200 problems."""
    operands = [np.resize(each, (COUNT, *np.shape(each)[1:])) for each in (margins, grams)]
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: len(margins)], solve_all(*operands))


@pytest.mark.parametrize("k", [2, 3])
def test_the_conditions_of_optimality_hold_for_random_problems(k):
    margins, grams = problems(k, COUNT)
    found = solved(margins, grams)
    for A, B, X in zip(margins, grams, found.value, strict=True):
        S = A + np.asarray(matrix(jnp.asarray(B @ np.asarray(triangle(jnp.asarray(X)))), k))
        sizes = np.linalg.norm(X), np.linalg.norm(S) + np.linalg.norm(A)
        assert np.linalg.eigvalsh(X)[0] >= -1e-12 * sizes[0]
        assert np.linalg.eigvalsh(S)[0] >= -1e-7 * sizes[1]
        assert abs(np.sum(X * S)) <= 1e-7 * (sizes[0] * sizes[1] + 1e-30)
    assert found.residual.max() < 1e-8
    ranks = [np.sum(np.linalg.eigvalsh(X) > 1e-6 * np.abs(X).max()) for X in found.value]
    assert set(ranks) >= set(range(1, k + 1))  # all kinds of solutions were seen


@pytest.mark.parametrize("k", [2, 3])
def test_problems_of_low_rank_are_solved(k):
    """Their solutions are many: the margins are made from one, so that there is any. A tenth share nothing."""
    rng = np.random.default_rng(5)
    rows, columns = np.triu_indices(k)
    weights = np.where(rows == columns, 1, np.sqrt(2))
    margins, grams = [], []
    for index in range(COUNT):
        basis = np.linalg.qr(rng.normal(size=(k, k)))[0]
        oscillates = np.arange(k) < rng.integers(1, k + 1)
        sizes = rng.uniform(0.1, 2, size=k)
        X, S = ((basis * np.where(which, sizes, 0)) @ basis.T for which in (oscillates, ~oscillates))
        factor = rng.normal(size=(len(rows), rng.integers(1, len(rows))))
        gram = factor @ factor.T if index % 10 else np.diag(1.0 * (rows == columns))
        pushed = np.zeros((k, k))
        pushed[rows, columns] = pushed[columns, rows] = gram @ (weights * X[rows, columns]) / weights
        margins.append(S - pushed)
        grams.append(gram)
    found = solved(margins, grams)
    assert np.mean(found.residual < 1e-8) > 0.98  # Newton's method ends early in one of several hundreds
    assert np.all(found.residual[::10] < 1e-12)


def test_one_direction_has_a_closed_form():
    """Two problems of one direction that share nothing: `max(0, -A / B)` each."""
    margins = np.stack([np.diag(each) for each in ([-3.0, 2.0], [-0.025, -0.015])])
    found = solved(margins, np.stack([np.diag([0.5, 1.0, 0.5]), np.diag([0.125, 0.0, 0.125])]))
    np.testing.assert_allclose(found.value[0], np.diag([6.0, 0.0]), atol=1e-12)
    np.testing.assert_allclose(found.slack[0], np.diag([0.0, 2.0]), atol=1e-12)
    np.testing.assert_allclose(found.value[1], np.diag([0.2, 0.12]), atol=1e-12)


@pytest.mark.parametrize("k", [2, 3])
def test_a_conic_solver_finds_the_same(k):
    cp = pytest.importorskip("cvxpy")
    margins, grams = problems(k, 6, seed=3)
    found = solved(margins, grams).value
    rows, columns = np.triu_indices(k)
    weights = np.where(rows == columns, 1, np.sqrt(2))
    for A, B, X in zip(margins, grams, found, strict=True):
        unknown = cp.Variable((k, k), PSD=True)
        vector = cp.hstack([w * unknown[i, j] for w, i, j in zip(weights, rows, columns, strict=True)])
        sizes = np.abs(A).max(), np.abs(B).max()
        factor = np.linalg.cholesky(B / sizes[1])
        cost = cp.sum_squares(factor.T @ vector) / 2 + (weights * A[rows, columns] / sizes[0]) @ vector
        cp.Problem(cp.Minimize(cost)).solve(solver="CLARABEL")
        np.testing.assert_allclose(
            X * sizes[1] / sizes[0], unknown.value, atol=1e-4 * np.abs(unknown.value).max() + 1e-6
        )


def test_entries_off_the_diagonal_count_twice():
    """`<A, X>` has both triangles: with `A = -J` for a matrix of ones and `B = 1` the solution is `J` itself."""
    # The second one is what counting once would make of it: the middle entry weighs one half.
    grams = np.stack([np.eye(3), np.diag([1.0, 2.0, 1.0])])
    found = solved(-np.ones((2, 2, 2)), grams).value
    np.testing.assert_allclose(found[0], np.ones((2, 2)), atol=1e-10)
    assert np.asarray(triangle(jnp.asarray(found[0]))) @ np.array([1, np.sqrt(2), 1]) == pytest.approx(4)
    assert abs(found[1][0, 1] - 1) > 0.2


def test_without_a_solution_nothing_is_claimed():
    """Nothing to push with, nothing for one of two directions, nothing known."""
    margins = np.stack([-np.eye(2), np.diag([-1.0, -1e-3]), np.full((2, 2), np.nan)])
    found = solved(margins, np.stack([np.zeros((3, 3)), np.diag([1.0, 0.0, 0.0]), np.eye(3)]))
    assert not np.any(found.residual < 1e-6)


# --- leading eigenpairs ---


def test_warm_starts_halve_the_products():
    rng = np.random.default_rng(0)
    n = 60
    basis = np.linalg.qr(rng.normal(size=(n, n)))[0]
    mass = np.diag(10.0 ** rng.uniform(-1, 1, size=n))
    root = np.sqrt(mass)
    hessian = root @ (basis * np.concatenate([[9.0, 8.5, 8.0], rng.uniform(-2, 4, n - 3)])) @ basis.T @ root
    bump = rng.normal(size=(n, n)) * 1e-3
    nearby = hessian + root @ (bump + bump.T) @ root

    @jax.jit
    def find(matrix, start):
        products = (lambda d: matrix @ d, lambda d: jnp.diag(mass) * d, lambda g: g / jnp.diag(mass))
        return leading(*products, start, lambda values: jnp.arange(5) < 3, 1e-3)

    cold = find(hessian, jnp.asarray(rng.normal(size=(5, n))))
    exact = np.linalg.eigvalsh(np.linalg.inv(root) @ hessian @ np.linalg.inv(root))[::-1]
    np.testing.assert_allclose(cold.values[:3], exact[:3], rtol=1e-5)
    np.testing.assert_allclose(cold.vectors @ mass @ cold.vectors.T, np.eye(5), atol=1e-10)
    warm = find(nearby, cold.vectors)
    again = find(nearby, jnp.asarray(rng.normal(size=(5, n))))
    np.testing.assert_allclose(warm.values[:3], again.values[:3], rtol=1e-5)
    assert int(warm.products) <= int(again.products) / 2
    assert np.isnan(find(np.full((n, n), np.nan), cold.vectors).values).all()


# --- the flow ---


def test_the_exact_orbit_of_the_toy_is_the_central_flows_rest():
    flow = fm.central_flow(fm.GradientFlow(toy), H)
    x = np.sqrt(2 * (Y - EDGE))
    orbit = np.array([x, EDGE])
    for sign in (-1, 1):
        gradient = np.asarray(jax.grad(toy)(jnp.asarray(orbit), None))
        orbit = orbit - H * gradient
        np.testing.assert_allclose(orbit, [sign * x, EDGE], atol=1e-12)
    found, vectors = averaged(flow, [0.0, EDGE])
    np.testing.assert_allclose(found.velocity, 0, atol=1e-9)
    np.testing.assert_allclose(found.covariance, [[x**2]], rtol=1e-9)
    np.testing.assert_allclose(np.abs(vectors), [[1, 0]], atol=1e-9)
    # Above the edge it is brought back within the relaxation, half a step: that is where the flow is stiffest.
    above = np.array([0.0, EDGE + 1.0])
    np.testing.assert_allclose(velocity(flow, above)[1], -1.0 / (0.5 * H), rtol=1e-9)


def test_below_the_edge_it_is_the_gradient_flow():
    gradient, state = fm.GradientFlow(toy), np.array([0.3, 15.0])
    plain = np.asarray(gradient.vector_field(0.0, jnp.asarray(state)))
    np.testing.assert_allclose(velocity(fm.central_flow(gradient, H), state), plain, rtol=1e-13)
    heavy = fm.central_flow(gradient, H, "heavy_ball", 0.6)
    assert (heavy.threshold, heavy.speed) == pytest.approx((1.6 * EDGE, 2.5))


def test_two_directions_have_a_closed_form():
    """The second time they share nothing: without `z` no slope couples them, and any covariance of them will do."""
    state = [0.0, 0.0, EDGE, EDGE, 0.0, 0.1]
    for coupling in (1, 0):
        found, vectors = in_coordinates(np.diag([1, 1, 1, 1, coupling, 1.0]), np.eye(6), state)
        covariance = np.asarray(vectors.T @ found.covariance @ vectors)
        np.testing.assert_allclose(np.diag(covariance), [1.0, 0.6, 0, 0, 0, 0], atol=1e-8)
        np.testing.assert_allclose(found.velocity, [0, 0, 0, 0, 0, -0.2], atol=1e-8)
        if coupling:
            np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-8)


def test_a_constant_metric_is_another_set_of_coordinates():
    """In the coordinates `L^T w` of the metric's Cholesky factor preconditioned descent is gradient descent."""
    rng = np.random.default_rng(1)
    factor = np.tril(rng.normal(size=(6, 6))) + 3 * np.eye(6)
    state = np.array([0.01, -0.02, 20.1, 20.0, 0.01, 0.2])
    plain = in_coordinates(np.eye(6), np.eye(6), state)[0].velocity
    found = in_coordinates(factor, factor @ factor.T, np.linalg.solve(factor.T, state))[0].velocity
    np.testing.assert_allclose(factor.T @ found, plain, rtol=1e-6, atol=1e-6)
    assert not np.array_equal(factor.T @ found, plain)


def test_it_can_be_simulated_and_stays_at_the_edge():
    flow = fm.central_flow(fm.GradientFlow(toy), H)
    run = fm.simulate(flow, jnp.array([0.1, 18.0]), ts=np.linspace(0, 6, 25), rtol=1e-5)
    assert run.ys[:, 1].max() < EDGE * (1 + 1e-3)
    np.testing.assert_allclose(run.ys[-1], [0, EDGE], atol=0.02)


def test_what_cannot_be_held_back_is_nan():
    """A quadratic mode beyond its edge diverges: no oscillation changes its curvature. Nor does NaN pass for below."""
    state = np.array([0.0, 0.0, 15.0, 15.0, 0.0, 0.1])
    alone = np.diag([0, 0, 0, 0, 0, 1.0])
    for factor, unknown, expected in ((alone, 0, False), (5 * alone, 0, True), (np.eye(6), np.nan, True)):
        found = in_coordinates(factor, np.eye(6), state + unknown)[0].velocity
        assert np.isnan(found).any() == expected


# --- the optimizer beside its flows ---


@pytest.fixture(scope="module")
def heavy():
    """Heavy ball on the toy, whose edge is at `2 (1 + momentum) / h`."""
    momentum = 0.5
    flow = fm.GradientFlow(toy)
    start = np.array([0.1, 18.0])
    step_size = 2 * (1 + momentum) / EDGE
    return fm.edge_of_stability(flow, start, step_size, 249, "heavy_ball", momentum, directions=1, window=41)


def test_the_optimizer_follows_the_central_flow(heavy):
    end = heavy.isel(step=-1)
    assert heavy.attrs["threshold"] == pytest.approx(EDGE)
    assert float(end["predicted_loss"]) == pytest.approx(float(end["mean_loss"]), rel=0.05)
    # The oscillation itself is what is left of the distance from the central flow.
    assert float(end["predicted_variance"][0]) == pytest.approx(2 * (Y - EDGE), rel=0.01)
    assert float(end["measured_variance"][0]) == pytest.approx(2 * (Y - EDGE), rel=0.05)
    assert float(end["distance_central"]) == pytest.approx(np.sqrt(2 * (Y - EDGE)), rel=0.05)
    np.testing.assert_allclose(heavy["sharpness_central"][100:], EDGE, rtol=1e-3)
    np.testing.assert_allclose(heavy["time"], heavy["step"] * heavy.attrs["step_size"])
    assert int(end["critical"]) == 1
    # Negative control: the gradient flow's curvature, here `y`, ends at its rest point above the edge.
    assert float(end["loss_flow"]) < 1e-6


def test_a_run_can_be_drawn_and_kept(heavy, tmp_path):
    axes = fm.plot.edge_of_stability(heavy)
    assert [ax.get_ylabel() for ax in axes] == ["loss", "curvature", "distance of the optimizer"]
    np.testing.assert_allclose(axes[2].get_lines()[1].get_ydata(), heavy["distance_central"])
    heavy.to_netcdf(tmp_path / "edge.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"`dataset` must be what `fm.edge_of_stability` returns, got Dataset"):
        fm.plot.edge_of_stability(xr.Dataset())
    with pytest.raises(ValueError, match="`axes` must be three matplotlib `Axes`, got 1"):
        fm.plot.edge_of_stability(heavy, axes=axes[0])


def test_a_mean_over_a_window_is_of_its_values_alone():
    values = np.concatenate([[np.inf], np.full(3, 1e12), np.full(60, 1e-6), [np.nan]])
    smooth = _smooth(np.stack([values, np.arange(65.0)], axis=1), 5)
    np.testing.assert_allclose(smooth[6:62, 0], 1e-6, rtol=1e-12)
    np.testing.assert_allclose(smooth[:, 1], np.arange(65.0))  # centred, at the ends as well
    assert np.isinf(smooth[:3, 0]).all()
    assert np.isnan(smooth[62:, 0]).all()


# --- metrics that depend on the state: experimental ---

SHARE = 0.08
"""How much longer the metric makes the third coordinate at the oscillation's turning points."""


def drifting(w, args):
    return toy(w[:2], args) + w[2]


def uneven(w, share):
    return jnp.ones(3) + jnp.array([0.0, 0.0, 1.0]) * (share * w[0] ** 2)


UNEVEN = fm.GradientFlow(drifting, fm.DiagonalMetric(uneven))
GENERAL, CONSTANT = fm.averaged_flow(UNEVEN, H), fm.central_flow(UNEVEN, H, slow_metric=True)


def test_long_averages_in_a_metric_that_depends_on_the_state():
    """The drift of the third coordinate: `-1 / (1 + c x^2)` on the orbit, whose `x^2` is one."""
    state, places = np.array([1.02, EDGE, 0.0]), []
    for _ in range(2000):
        x, y, _ = state
        state = state - H * np.array([x * y, x**2 / 2 + y - Y, 1 / (1 + SHARE * x**2)])
        places.append(state)
    measured = (places[-1][2] - places[999][2]) / (1000 * H)
    assert measured == pytest.approx(-1 / (1 + SHARE), rel=1e-3)
    rest, share = np.array([0.0, EDGE, 0.0]), jnp.asarray(SHARE)
    velocity, oscillation = averaged(GENERAL, rest, share)
    assert oscillation.variance == pytest.approx(2 * (Y - EDGE))
    np.testing.assert_allclose(velocity[:2], 0, atol=1e-6)
    assert velocity[2] == pytest.approx(measured, rel=1.2 * SHARE**2)
    # Negative control: without the derivatives of the metric the drift is off by their whole share.
    constant = averaged(CONSTANT, rest, share)[0].velocity
    assert abs(constant[2] / measured - 1) == pytest.approx(SHARE, rel=0.05)


def test_for_a_constant_metric_the_averaged_flow_is_the_central_flow():
    state, share = np.array([0.02, 1.01 * EDGE, 0.3]), jnp.asarray(0.0)
    general, central = averaged(GENERAL, state, share)[0], averaged(CONSTANT, state, share)[0].velocity
    np.testing.assert_allclose(general, central, rtol=1e-2, atol=1e-2)
    assert central[1] < -1 < 0 < Y - state[1]  # neither is the gradient flow
    assert not np.array_equal(general, central)


@pytest.mark.parametrize(("step_size", "critical"), [(1.0, True), (0.15, False)])
def test_a_critical_complex_pair_is_nan(step_size, critical):
    """`M^-1 = diag(1 + 3 b, 1 - 3 a)` makes `-1 + 3 i` of the eigenvalues at zero: critical from `h = 0.2`."""

    def lengths(w, args):
        del args
        return 1 / (1 + jnp.array([3.0, -3.0]) * w[::-1])

    spiral = fm.GradientFlow(lambda w, args: w @ w / 2 + jnp.sum(w), fm.DiagonalMetric(lengths))
    velocity, _ = fm.averaged_flow(spiral, step_size).average(0.0, jnp.zeros(2))
    assert np.isnan(velocity).all() == critical
    assert critical or np.allclose(velocity, -1)


# --- wrong input ---

BOWL = fm.GradientFlow(lambda w, args: jnp.sum(w**2) / 2)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"flow": toy}, "`flow` must be a flow, got function"),
        ({"flow": fm.InertialFlow(toy)}, "`flow` must be a gradient flow, got InertialFlow"),
        ({"flow": fm.GradientFlow(toy, fm.DenseMetric(lambda w, a: jnp.eye(2)))}, "`flow` must have a constant metric"),
        ({"step_size": 0.0}, "`step_size` must be a positive, finite number, got 0.0"),
        ({"step_size": np.nan}, "`step_size` must be a positive, finite number, got nan"),
        ({"method": "nesterov"}, "`method` must be 'euler' or 'heavy_ball', got 'nesterov'"),
        ({"method": "heavy_ball"}, "needs its `momentum=`"),
        ({"momentum": 0.5}, "`momentum` is for"),
        ({"directions": 0}, "`directions` must be a whole number from 1, got 0"),
        ({"steps": 0}, "`steps` must be a whole number from 1, got 0"),
        ({"substeps": 1}, "`substeps` must be a whole number from 2, got 1"),
        ({"y0": np.zeros(2)}, "`y0` is a critical point"),
        ({"y0": np.array([np.nan, 1.0])}, "`y0` must be a state with a finite potential"),
        ({"y0": np.array([1, 2])}, "`y0` must hold float arrays"),
    ],
)
def test_wrong_input(changed, sentence):
    operands = {"flow": BOWL, "y0": np.ones(2), "step_size": 0.1, "steps": 10}
    with pytest.raises(ValueError, match=sentence):
        fm.edge_of_stability(**operands | changed)


def test_a_potential_without_third_derivatives_is_named():
    @jax.custom_vjp
    def bowl(w):
        return jnp.sum(w**2) / 2

    bowl.defvjp(lambda w: (bowl(w), w), lambda w, g: (g * w,))
    with pytest.raises(ValueError, match="`flow` must have a potential with third derivatives"):
        fm.edge_of_stability(fm.GradientFlow(lambda w, args: bowl(w)), np.ones(2), 0.1, 10)
