"""The gap to a flow, measured and predicted: beside a NumPy loop, and SciPy's run of the variational equation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

import flowmod as fm

START, STEPS, H = np.array([1.1, 0.8]), 40, 0.025


def potential(q, args):
    """That of oracle o12, on a tree."""
    x, y = q["x"], q["y"]
    return x**4 / 4 + x**2 / 2 + 0.3 * x * y + y**2


def diagonal(q, curved):
    """Flat for `curved = 0`."""
    return {"x": 1 + curved * q["x"] ** 2, "y": 1 + curved * (0.5 + jnp.sin(q["y"]))}


FLOW = fm.GradientFlow(potential, fm.DiagonalMetric(diagonal), units={"time": "s"})


def report(curved):
    start = {"x": jnp.asarray(START[0]), "y": jnp.asarray(START[1])}
    return fm.gap_report(FLOW, start, H, STEPS, order=2, args=jnp.asarray(curved))


@pytest.fixture(scope="module")
def flat():
    return report(0.0)


@pytest.fixture(scope="module")
def bent():
    return report(1.0)


# --- the same in NumPy ---


def loss(q):
    x, y = q
    return x**4 / 4 + x**2 / 2 + 0.3 * x * y + y**2


def slope(q):
    x, y = q
    return np.array([x**3 + x + 0.3 * y, 0.3 * x + 2 * y])


def mass(q, curved):
    return np.array([1 + curved * q[0] ** 2, 1 + curved * (0.5 + np.sin(q[1]))])


def mass_slope(q, curved):
    return curved * np.array([2 * q[0], np.cos(q[1])])


def velocity(q, curved):
    return -slope(q) / mass(q, curved)


def jacobian(q, curved):
    hessian = np.array([[3 * q[0] ** 2 + 1, 0.3], [0.3, 2.0]])
    m = mass(q, curved)
    return -hessian / m[:, None] + np.diag(slope(q) * mass_slope(q, curved) / m**2)


def predicted(curved):
    """Flow, gap per step size, and the part that the modified loss makes, at the end."""

    def right(t, z):
        q, error, regularised = z.reshape(3, 2)
        v, a = velocity(q, curved), jacobian(q, curved)
        gamma = mass_slope(q, curved) / (2 * mass(q, curved)) * v**2
        return np.concatenate([v, a @ error - a @ v / 2, a @ regularised - (a @ v + gamma) / 2])

    start = np.concatenate([START, np.zeros(4)])
    return solve_ivp(right, (0, H * STEPS), start, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1].reshape(3, 2)


def iterate(curved):
    q = START
    for _ in range(STEPS):
        q = q + H * velocity(q, curved)
    return q


# --- what it says ---


def test_the_gaps_of_a_flat_metric_are_those_of_the_oracle(oracle, flat):
    expected = oracle("o12_euler_order_modified_equation")["results"]["flat"]
    assert flat.updates[-1] == STEPS
    assert flat.t[-1] == pytest.approx(1.0)
    assert flat.gap[-1] == pytest.approx(expected["err_vs_flow"][1], rel=1e-7)
    np.testing.assert_allclose(flat.modified[-1], [expected["err_vs_mod1"][1], expected["err_vs_mod2"][1]], rtol=1e-5)


@pytest.mark.parametrize(("name", "curved"), [("flat", 0.0), ("bent", 1.0)])
def test_gap_shares_and_losses_are_those_of_a_loop_and_of_the_variational_equation(request, name, curved):
    found = request.getfixturevalue(name)
    flow, error, regularised = predicted(curved)
    gap, error, regularised = iterate(curved) - flow, H * error, H * regularised
    m = mass(flow, curved)
    squares, predicted_squares = m * gap**2, m * error**2
    expected = {
        "gap": np.sqrt(squares.sum()),
        "predicted": np.sqrt(predicted_squares.sum()),
        "unexplained": np.sqrt((m * (gap - error) ** 2).sum()),
        "shares": squares / squares.sum(),
        "predicted_shares": predicted_squares / predicted_squares.sum(),
        "loss": loss(flow),
        "loss_gap": loss(iterate(curved)) - loss(flow),
        "predicted_loss_gap": slope(flow) @ error,
        "regularisation": H / 4 * (slope(flow) ** 2 / m).sum(),
        "regularisation_loss_gap": slope(flow) @ regularised,
    }
    for measure, value in expected.items():
        np.testing.assert_allclose(getattr(found, measure)[-1], value, rtol=1e-5, err_msg=measure)
    assert found.unexplained[-1] < 0.05 * found.gap[-1]


def test_only_straight_steps_in_curved_coordinates_have_other_sources(flat, bent):
    np.testing.assert_allclose(flat.regularisation_loss_gap, flat.predicted_loss_gap, rtol=1e-6)
    assert bent.regularisation_loss_gap[-1] < 1.1 * bent.predicted_loss_gap[-1] < 0


def test_shares_are_of_modules_and_sum_to_one(bent):
    assert bent.modules == ("x", "y")
    assert bent.parameters == (1, 1)
    assert bent.shares.shape == bent.predicted_shares.shape == (STEPS, 2)
    np.testing.assert_allclose(bent.shares.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(bent.shares, bent.predicted_shares, atol=0.02)


def test_it_prints_and_is_a_labelled_table(bent):
    text = str(bent)
    assert text.startswith("GapReport, 40 updates of euler, h = 0.025, t = 1\n")
    assert "from the modified flow of order 2" in text
    table = bent.to_xarray()
    assert isinstance(table, xr.Dataset)
    assert dict(table.sizes) == {"time": STEPS, "order": 2, "module": 2}
    assert table.time.attrs["units"] == "s"
    assert float(table.shares.sel(module="x")[-1]) == bent.shares[-1, 0]
    assert table.attrs == {"method": "euler", "step_size": H}
    assert all("long_name" in table[name].attrs for name in table)


def test_implicit_steps_favour_the_slope_in_single_precision_too():
    """Of `f = y^2 / 2` they are `y / (1 + h)^n`: the gap is `n h^2 exp(-n h) / 2` to the first order."""
    flow, h = fm.GradientFlow(lambda y, args: jnp.sum(y**2) / 2), 0.02
    found = fm.gap_report(flow, jnp.ones(1, jnp.float32), h, 200, "implicit_euler")
    assert found.modules == ("state",)
    assert found.gap.dtype == np.float32
    assert len(found.t) == 60
    assert found.updates[-1] == 200
    flow_end, gap = np.exp(-found.t), found.t * h / 2 * np.exp(-found.t)
    np.testing.assert_allclose(found.predicted, gap, rtol=1e-3)
    np.testing.assert_allclose(found.gap, (1 + h) ** -found.updates.astype(float) - flow_end, rtol=2e-2)
    np.testing.assert_allclose(found.predicted_loss_gap, flow_end * gap, rtol=1e-3)
    np.testing.assert_allclose(found.regularisation, -h / 4 * flow_end**2, rtol=1e-3)


# --- other methods in a metric that moves, on a line, beside NumPy ---


def line_slope(y):
    return y**3 + 1


def line_mass(t, y):
    return (1 + 2 * t) * (1 + y**2)


def line_velocity(t, y):
    return -line_slope(y) / line_mass(t, y)


def heun_step(t, y, h):
    first = line_velocity(t, y)
    return y + h / 2 * (first + line_velocity(t + h, y + h * first))


def moving_step(t, y, h):
    found = y
    for _ in range(40):
        found = y - h * line_slope(found) / line_mass(t, y)
    return found


def entropic_mass(t, y):
    return 1 / y


def mirror_step(t, y, h):
    return y * np.exp(-h * line_slope(y))


MOVING = fm.MovingMetric(lambda t, y, args: (1 + 2 * t) * (1 + y[:, None] ** 2))
ENTROPIC = fm.HessianMetric(lambda y, args: jnp.sum(y * jnp.log(y)))


@pytest.mark.parametrize(
    ("method", "step", "metric", "mass", "power", "sign"),
    [
        ("heun", heun_step, MOVING, line_mass, 2, 0),
        ("minimizing_movement", moving_step, MOVING, line_mass, 1, -1),
        ("mirror", mirror_step, ENTROPIC, entropic_mass, 1, 1),
    ],
)
def test_the_prediction_of_each_method_is_the_limit_of_its_gaps(method, step, metric, mass, power, sign):
    start, end, steps = 0.8, 0.4, 20

    def regularised(t, y):
        """The gradient of `|f'|^2 / 4 m` at a time, over the mass."""
        by = 1e-5
        ends = [line_slope(z) ** 2 / (4 * mass(t, z)) for z in (y + by, y - by)]
        return (ends[0] - ends[1]) / (2 * by) / mass(t, y)

    def right(t, z):
        y, error = z
        v, by = lambda y: -line_slope(y) / mass(t, y), 1e-5
        return [v(y), (v(y + by) - v(y - by)) / (2 * by) * error - sign * regularised(t, y)]

    flow, error = solve_ivp(right, (0, end), [start, 0], method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]

    def gap(count):
        y, h = start, end / count
        for n in range(count):
            y = step(n * h, y, h)
        return y - flow

    # The gap over `h^p`, as the step size goes to zero.
    coarse, fine = (gap(count) * (count / end) ** power for count in (400, 800))
    h, weight = end / steps, np.sqrt(mass(end, flow))
    found = fm.gap_report(
        fm.GradientFlow(lambda y, args: jnp.sum(y**4 / 4 + y), metric), jnp.asarray([start]), h, steps, method
    )
    assert found.gap[-1] == pytest.approx(weight * abs(gap(steps)), rel=1e-6)
    assert found.predicted[-1] == pytest.approx(weight * h**power * abs(2 * fine - coarse), rel=1e-3)
    assert found.predicted_loss_gap[-1] == pytest.approx(line_slope(flow) * h**power * (2 * fine - coarse), rel=1e-3)
    slope = line_slope(flow)
    assert found.regularisation[-1] == pytest.approx(sign * h / 4 * slope**2 / mass(end, flow), rel=1e-6)
    assert found.regularisation_loss_gap[-1] == pytest.approx(h * slope * error, rel=1e-5)


def test_a_gap_that_is_none_has_no_shares_and_one_of_any_size_is_found():
    """Steps of a linear potential are exact; and a flow knows no unit of length."""
    flow = fm.GradientFlow(lambda y, args: args[0] * jnp.sum(y) + args[1] * jnp.sum(y**2))
    exact = fm.gap_report(flow, jnp.ones(1), 0.25, 4, args=jnp.array([1.0, 0.0]))
    assert exact.predicted[-1] == 0
    assert (exact.predicted_shares == 0).all()
    assert "nan" not in str(exact)
    small = fm.gap_report(flow, jnp.full(1, 1e-14), 0.1, 4, args=jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(small.gap, 1e-14 * abs(0.8**small.updates - np.exp(-2 * small.t)), rtol=1e-6)


# --- bad input ---

PAIR = {"x": jnp.asarray(1.0), "y": jnp.asarray(1.0)}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"flow": fm.InertialFlow(potential)}, "`flow` must be of first order"),
        ({"flow": fm.VectorField(lambda t, y, args: y)}, "must be a gradient flow, got VectorField.*`limit.flow`"),
        ({"step_size": 0.0}, "`step_size` must be a positive"),
        ({"step_size": lambda n: 0.1}, "`step_size` must be a number, got the schedule"),
        ({"steps": 0}, "`steps` must be a whole number of updates from 1, got 0"),
        ({"steps": 2.5}, "`steps` must be a whole number"),
        ({"method": "heavy_ball"}, "`method` must be one of 'euler'.*got 'heavy_ball'"),
        ({"order": 3}, "`order` must be 1 or 2"),
        ({"order": 1.0}, "`order` must be 1 or 2"),
        ({"order": True}, "`order` must be 1 or 2"),
        ({"y0": {}}, "`y0` must hold at least one float array"),
        ({"y0": {"x": jnp.asarray(jnp.nan), "y": PAIR["y"]}}, "`y0` must be finite"),
        ({"y0": {"x": 1, "y": 2}}, "`y0` must hold float arrays.*'x'"),
    ],
)
def test_no_report_of_the_wrong_thing(change, complaint):
    given = {"flow": FLOW, "y0": PAIR, "step_size": 0.1, "steps": 10, "args": jnp.asarray(0.0), **change}
    with pytest.raises(ValueError, match=complaint):
        fm.gap_report(**given)


def test_no_report_inside_a_transformation():
    with pytest.raises(ValueError, match="`gap_report` runs outside of JAX transformations only"):
        jax.jit(lambda h: fm.gap_report(FLOW, PAIR, h, 10, args=jnp.asarray(0.0)).gap)(0.1)


def test_no_report_from_a_critical_point():
    rest = {"x": jnp.asarray(0.0), "y": jnp.asarray(0.0)}
    with pytest.raises(ValueError, match="`y0` is a critical point"):
        fm.gap_report(FLOW, rest, H, STEPS, order=2, args=jnp.asarray(1.0))
