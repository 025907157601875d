"""A flow and optimizers on one clock: distances, fates, orders and limits against closed forms."""

import sys
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.core import Tracer

import flowmod as fm
from flowmod.discrete import compare, discretize, step_limit
from flowmod.discrete.comparison._lanes import lanes_for, traced
from flowmod.discrete.comparison._order import fitted_order
from flowmod.discrete.comparison._recursion import recursion_of
from flowmod.discrete.comparison._schedule import Schedule
from tests.zoo import STATE_DEPENDENT, bowl, toggle

H, M = np.array([[4.0, 1.0], [1.0, 2.0]]), np.diag([2.0, 0.25])
"""Of oracle o10: eigenvalues 1.683 and 8.317 of M^-1 H."""


def quadratic(y, args):
    return y @ jnp.asarray(H, y.dtype) @ y / 2


QUADRATIC = fm.GradientFlow(quadratic, fm.ConstantMetric(M))
FLAT = fm.GradientFlow(quadratic)
START = np.array([1.0, -2.0])

SCHEDULE = optax.warmup_cosine_decay_schedule


def steps_of(flow):
    return {
        "euler": lambda h: discretize(flow, h),
        "heun": lambda h: discretize(flow, h, "heun"),
    }


def fate(dataset, name, row=0):
    return str(dataset["fate"].sel(optimizer=name).values[row])


# --- against closed forms ---


@pytest.fixture(scope="module")
def small():
    """Euler, Heun and others on the quadratic, at small step sizes out of order."""
    others = {
        "sgd": optax.sgd,
        "twice": lambda h: optax.MultiSteps(optax.sgd(h), 2),
        "nan": lambda h: optax.scale(jnp.nan),
    }
    return compare(QUADRATIC, steps_of(QUADRATIC) | others, START, [0.004, 0.001, 0.002, 0.05], t1=1.0)


def test_iterates_and_flow_are_compared_at_the_same_time(small):
    values, vectors = np.linalg.eig(np.linalg.solve(M, H))
    modes = np.linalg.solve(vectors, START)
    for row, h in enumerate(small["step_size"].values):
        n = small["update"].values[row]
        assert (n[0], n[-1], len(set(n))) == (0, max(60, round(1 / h)), 61)
        np.testing.assert_allclose(small["flow_time"][row], n * h, rtol=1e-14)
        flow = np.exp(-np.outer(n * h, values)) * modes @ vectors.T
        euler = (1 - h * values) ** n[:, None] * modes @ vectors.T
        run = small.sel(optimizer="euler").isel(step_size=row)
        np.testing.assert_allclose(run["distance"], np.linalg.norm(euler - flow, axis=1), atol=3e-9)
        in_metric = np.sqrt(np.sum((euler - flow) @ M * (euler - flow), axis=1))
        np.testing.assert_allclose(run["distance_metric"], in_metric, atol=3e-9)
        np.testing.assert_allclose(run["loss"], np.sum(euler @ H * euler, axis=1) / 2, rtol=1e-10)
        np.testing.assert_allclose(small["flow_loss"][row], np.sum(flow @ H * flow, axis=1) / 2, atol=1e-8)


def test_the_dataset_says_what_it_holds(small):
    assert small["loss"].dims == ("optimizer", "step_size", "time")
    assert small["flow_time"].dims == small["flow_loss"].dims == ("step_size", "time")
    for name in ("fate", "period", "error", "margin"):
        assert small[name].dims == ("optimizer", "step_size")
    for name in ("order", "order_until", "predicted_limit", "limit_at_start"):
        assert small[name].dims == ("optimizer",)
    assert list(small["step_size"].values) == [0.004, 0.001, 0.002, 0.05]
    assert small.attrs["t1"] == 1.0
    assert all("long_name" in small[name].attrs for name in small.data_vars)


def test_a_comparison_can_be_kept(small, tmp_path):
    small.to_netcdf(tmp_path / "c.nc", engine="h5netcdf")


def test_limits_are_those_of_the_flow_and_of_plain_descent(small, oracle):
    limits = small["predicted_limit"]
    euler = oracle("o10_step_limits")["results"]["euler_limit"]
    for name in ("euler", "heun"):
        assert float(limits.sel(optimizer=name)) == pytest.approx(euler, rel=1e-9)
    # Plain gradient descent is Euler's method in the flat metric.
    assert float(limits.sel(optimizer="sgd")) == pytest.approx(2 / np.linalg.eigvalsh(H)[-1], rel=1e-9)
    assert np.isnan(limits.sel(optimizer=["twice", "nan"])).all()
    np.testing.assert_allclose(small["limit_at_start"], limits, rtol=1e-9)
    np.testing.assert_allclose(small["margin"].sel(optimizer="euler"), small["step_size"] / euler, rtol=1e-9)


def test_an_optimizer_that_returns_nan_has_its_fate_and_the_others_go_on(small):
    assert set(small["fate"].sel(optimizer="nan").values) == {"diverged"}
    assert set(small["fate"].sel(optimizer="euler").values) == {"converging"}
    assert np.isnan(small["distance"].sel(optimizer="nan")[:, 1:]).all()
    assert (small["distance"].sel(optimizer="nan")[:, 0] == 0).all()
    assert small.attrs["notes"].startswith("Optimizer 'nan': its first update is not finite, at every step size")
    assert "\n" not in small.attrs["notes"]


def test_several_steps_of_optax_are_taken_as_they_are(small):
    """Two gradients at one place, then their mean: every second update is gradient descent's."""
    run = small.sel(optimizer="twice").isel(step_size=3)
    places = [START]
    for count in run["update"].values[1:]:
        places.append(places[-1] - 0.05 * (H @ places[-1]) * (count % 2 == 0))
    np.testing.assert_allclose(run["loss"], [y @ H @ y / 2 for y in places], rtol=1e-7)


@pytest.mark.slow
def test_the_stability_limit_separates_the_fates():
    """Within 1 % of 2 / lambda_max, exactly, from a start along the fastest direction."""
    values, vectors = np.linalg.eig(np.linalg.solve(M, H))
    fastest = np.argmax(values)
    limit = 2 / values[fastest]
    dataset = compare(QUADRATIC, steps_of(QUADRATIC), vectors[:, fastest], [0.99 * limit, 1.01 * limit], 300 * limit)
    for name in ("euler", "heun"):
        assert list(dataset["fate"].sel(optimizer=name).values) == ["converging", "diverged"]
    assert float(dataset["predicted_limit"][0]) == pytest.approx(limit, rel=1e-9)


@pytest.mark.slow
def test_the_limit_along_the_flow_is_the_smallest():
    """A double well: the curvature rises from negative to 2 as the flow falls from its ridge."""
    flow = fm.GradientFlow(lambda y, args: jnp.sum((y**2 - 1) ** 2) / 4)
    dataset = compare(flow, {"sgd": optax.sgd}, jnp.array([0.1]), [0.1, 0.9, 1.1], t1=30.0)
    assert np.isinf(dataset["limit_at_start"][0])
    assert float(dataset["predicted_limit"][0]) == pytest.approx(1.0, rel=1e-6)
    assert set(dataset["fate"][0].values[:2]) <= {"converged", "converging"}
    assert dataset["fate"][0].values[2] == "periodic"
    assert list(dataset["period"][0].values) == [0, 0, 2]


# --- the order ---


@pytest.mark.slow
@pytest.mark.parametrize("name", STATE_DEPENDENT)
def test_orders_in_state_dependent_metrics(name):
    potential, mass, start = STATE_DEPENDENT[name]
    flow = fm.GradientFlow(potential, fm.DenseMetric(mass))
    dataset = compare(flow, steps_of(flow), jnp.array(start), np.geomspace(1e-3, 1, 12), t1=1.0)
    assert dataset["order"].values == pytest.approx([1, 2], abs=0.05)
    assert dataset["error"].shape == (2, 12)


@pytest.mark.slow
def test_orders_and_limits_in_the_layerwise_metric(key):
    keys = jax.random.split(key, 3)
    net = fm.Linear(3, 4, key=keys[0]) >> fm.Pointwise(jnp.tanh) >> fm.Linear(4, 3, key=keys[1])
    loss = fm.Supervised(net, fm.SoftmaxCrossEntropy(), jax.random.normal(keys[2], (20, 3)), jnp.arange(20) % 3)
    flow = fm.GradientFlow(loss, fm.LayerwiseMetric.of(loss, mass=0.1))
    dataset = compare(flow, steps_of(flow), net, np.geomspace(0.01, 0.1, 5), t1=1.0)
    assert dataset["order"].values == pytest.approx([1, 2], abs=0.05)
    assert dataset["limit_at_start"].values == pytest.approx(float(step_limit(flow, net)), rel=1e-6)


@pytest.mark.slow
def test_errors_equal_an_independent_computation(oracle):
    """Euler's error at the end of the time, where it is largest, against SciPy's flow and a NumPy loop."""
    expected = oracle("o12_euler_order_modified_equation")

    def potential(q, args):
        return q[0] ** 4 / 4 + q[0] ** 2 / 2 + 0.3 * q[0] * q[1] + q[1] ** 2

    flow = fm.GradientFlow(potential)
    counts = np.array(expected["inputs"]["N"])
    dataset = compare(flow, steps_of(flow), np.array(expected["inputs"]["x0"]), 1 / counts, t1=1.0)
    for row, count in enumerate(counts):
        run = dataset.sel(optimizer="euler").isel(step_size=row)
        at_end = run["distance"].values[np.flatnonzero(run["update"].values == count)]
        error = expected["results"]["flat"]["err_vs_flow"][row]
        assert at_end == pytest.approx(error, rel=1e-6)
        assert float(run["error"]) >= error * (1 - 1e-6)


@pytest.mark.slow
def test_another_clock_breaks_the_order(monkeypatch):
    """Negative control: iterate n beside the flow at (n + 1) h is one order worse."""
    portions = Schedule.portions

    def shifted(self, *operands):
        for portion in portions(self, *operands):
            rows = portion.rows
            yield portion._replace(rows=np.concatenate([rows[:, 1:], rows[:, -1:]], axis=1))

    # 60 updates, so that every one is recorded.
    operands = (QUADRATIC, {"heun": steps_of(QUADRATIC)["heun"]}, START, [0.0002, 0.0004, 0.0008], 0.01)
    right = compare(*operands)
    monkeypatch.setattr(Schedule, "portions", shifted)
    wrong = compare(*operands)
    assert (wrong["error"] > 10 * right["error"]).all()
    slope = np.polyfit(np.log(wrong["step_size"]), np.log(wrong["error"][0]), 1)[0]
    assert slope == pytest.approx(1, abs=0.1)


def test_too_few_step_sizes_have_no_order(small):
    assert small["order"].sel(optimizer="euler") == pytest.approx(1, abs=0.05)
    assert np.isnan(small["order"].sel(optimizer="twice"))
    dataset = compare(FLAT, {"sgd": optax.sgd}, START, [0.001, 0.002], t1=1.0)
    assert np.isnan(dataset["order"]).all()


# --- fates ---


def test_the_wrong_sign_diverges():
    dataset = compare(FLAT, {"up": lambda h: optax.scale(h)}, START, [0.01, 0.1], t1=2.0)
    assert set(dataset["fate"].values.ravel()) == {"diverged"}
    assert np.isnan(dataset["predicted_limit"]).all()


def test_a_signed_step_repeats_itself():
    dataset = compare(FLAT, {"sign": optax.sign_sgd}, START, [0.1, 0.03], t1=10.0)
    for row, h in enumerate((0.1, 0.03)):
        places = [START]
        for _ in range(int(dataset["update"][row, -1])):
            places.append(places[-1] - h * np.sign(H @ places[-1]))
        latest = np.array(places[-40:])
        period = next(k for k in range(1, 20) if np.allclose(latest[k:], latest[:-k], atol=1e-9))
        assert (fate(dataset, "sign", row), int(dataset["period"][0, row])) == ("periodic", period)


def test_at_rest_nothing_happens():
    """At a minimum the flow's drop is zero, and what rounding does is no fate."""
    flow = fm.GradientFlow(lambda y, args: 3.0 + jnp.sum((y - 0.1) ** 2))
    dataset = compare(flow, {"sgd": optax.sgd}, jnp.array([0.1, 0.1]), [0.01, 0.1], t1=1.0)
    assert set(dataset["fate"].values.ravel()) == {"converged"}
    assert np.isnan(dataset["order"]).all()
    assert dataset.attrs["notes"].startswith("The start is already at a critical point")


def test_a_step_beyond_the_end_has_a_fate_but_no_error():
    dataset = compare(FLAT, {"sgd": optax.sgd}, START, [0.1, 0.2], t1=0.15)
    assert np.isnan(dataset["error"].values[:, 1]).all()
    assert np.isfinite(dataset["error"].values[:, 0]).all()
    assert set(dataset["fate"][0].values) <= {"converged", "converging"}
    assert (dataset["margin"][0] < 1).all()


@pytest.mark.slow
def test_a_flow_that_ends_after_the_time_is_compared_until_then():
    """`sqrt` is defined until t = 1 only; large step sizes ask for more."""
    flow = fm.VectorField(lambda t, y, args: -jnp.sqrt(4 - 4 * t) / y, potential=lambda y, args: jnp.sum(y**2))
    dataset = compare(flow, {"sgd": optax.sgd}, jnp.array([3.0]), [0.01, 0.05], t1=0.5)
    assert np.isfinite(dataset["distance"][0, 0]).all()
    last = dataset["distance"].values[0, 1]
    assert np.isfinite(last[:20]).all()
    assert np.isnan(last[-1])
    assert set(dataset["fate"].values.ravel()) <= {"converged", "converging"}
    with pytest.raises(fm.SimulationError, match="The run stopped at t = "):
        compare(flow, {"sgd": optax.sgd}, jnp.array([3.0]), [0.01], t1=1.5)


# --- which optimizers are recursions of the gradient ---


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda h: optax.chain(optax.scale(2.0), optax.scale(-h / 2)), ("euler", None, 1.0)),
        (lambda h: optax.sgd(lambda count: h), ("euler", None, 1.0)),
        (lambda h: optax.sgd(2 * h), ("euler", None, 2.0)),
        (lambda h: optax.sgd(h, momentum=0.9), ("heavy_ball", 0.9, 1.0)),
        (lambda h: optax.chain(optax.ema(0.8, debias=False), optax.scale(-h)), ("heavy_ball", 0.8, 0.2)),
        (lambda h: optax.sgd(0.1 * h, momentum=0.7, nesterov=True), ("nesterov", 0.7, 0.1)),
        (lambda h: optax.chain(optax.ema(0.8), optax.scale(-h)), None),
        (lambda h: optax.chain(optax.clip_by_global_norm(100.0), optax.sgd(h)), None),
        (lambda h: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(h)), None),
        (lambda h: optax.sgd(lambda count: h * 0.5 ** (count // 10**4)), None),
        (lambda h: optax.chain(optax.trace(0.5), optax.trace(0.9), optax.scale(-h)), None),
        (optax.sign_sgd, None),
        (optax.rmsprop, None),
        (optax.adam, None),
        (optax.lbfgs, None),
        (optax.scale, None),
        (lambda h: optax.scale(jnp.nan), None),
    ],
)
def test_linear_recursions_are_recognised_by_their_answers(make, expected):
    optimizer = sys.modules["flowmod.discrete.comparison._optimizer"].Optimizer("it", make)
    leaves = {"a": jnp.asarray(START), "b": jnp.ones((2, 1))}
    reference = SimpleNamespace(example=leaves, static=None, loss_at=lambda leaves: jnp.asarray(1.0))
    found = recursion_of(optimizer, 0.01, QUADRATIC, reference)
    assert (found is None) == (expected is None)
    if expected is not None:
        method, momentum, factor = expected
        assert found.method == method
        assert (found.momentum or 0.0, found.factor) == pytest.approx((momentum or 0.0, factor), rel=1e-9)


def test_the_limit_with_momentum_is_that_of_its_recursion():
    """The largest step at which the naive iteration matrix of a heavy ball has no factor above one, by bisection."""
    heavy = {
        "optax": lambda h: optax.sgd(0.1 * h, momentum=0.9),
        "own": lambda h: discretize(FLAT, 0.1 * h, "heavy_ball", momentum=0.9),
    }
    dataset = compare(FLAT, heavy, START, [0.05, 0.1], t1=0.5)
    low, high = 0.0, 100.0
    for _ in range(60):
        h = (low + high) / 2
        step = np.block([[1.9 * np.eye(2) - 0.1 * h * H, -0.9 * np.eye(2)], [np.eye(2), np.zeros((2, 2))]])
        low, high = (h, high) if np.abs(np.linalg.eigvals(step)).max() <= 1 else (low, h)
    np.testing.assert_allclose(dataset["predicted_limit"], low, rtol=1e-8)
    np.testing.assert_allclose(dataset["distance"][0], dataset["distance"][1], rtol=1e-9)


# --- the fit of the order ---


def test_the_regime_ends_where_the_slope_bends():
    """`h^2 (1 + h / 0.2)` has over a factor of two the slope `2 + log2((1 + 5 h) / (1 + 5 h / 2))`."""
    h = np.geomspace(1e-3, 1, 61)
    errors = h**2 * (1 + h / 0.2)
    order, until = fitted_order(errors, h, np.nan, 1e3, 0.0)
    assert order == pytest.approx(2, abs=0.02)
    slopes = order + np.log2((1 + 5 * h) / (1 + 5 * h / 2)) - 0.01
    assert 0.9 < until / h[slopes <= order + 0.2].max() < 1.15
    # Negative controls: a run that does not count ends the regime, and so does an error of the flow's own.
    errors[30] = np.nan
    assert fitted_order(errors, h, np.nan, 1e3, 0.0).until == h[29]
    assert np.isnan(fitted_order(errors, h, np.nan, 1e3, 1e3)).all()
    # Not within the quarter of the limit, nor at errors of the size of the path.
    assert np.isnan(fitted_order(errors, h, 4e-3, 1e3, 0.0)).all()
    assert np.isnan(fitted_order(errors, h, np.nan, 1e-6, 0.0)).all()


# --- starts and metrics ---

STARTS = np.array([[1.0, -2.0], [0.5, 3.0], [0.0, 0.0], [1.0, 60.0]])
"""The third is a critical point; at the last the potential is not defined."""


def limited(y, args):
    return jnp.where(y[1] > 50, jnp.nan, quadratic(y, args))


@pytest.fixture(scope="module")
def many():
    """Two metrics that differ in their numbers, four starts, eight step sizes out of order; and what was called."""
    flows = {name: fm.GradientFlow(limited, fm.ConstantMetric(m)) for name, m in (("M", M), ("2M", 2 * M))}
    seen = []

    def euler(h, flow):
        seen.append(isinstance(h, Tracer))
        return discretize(flow, h)

    optimizers = {"euler": euler, "sgd": optax.sgd}
    steps = [0.3, 0.003, 0.002, 0.004, 0.005, 0.006, 0.0072, 0.0081]
    dataset = compare(flows, optimizers, STARTS, steps, t1=0.6, starts=True, progress=True)
    return dataset, sum(seen)


def test_every_start_and_metric_is_its_own_closed_form(many):
    dataset, _ = many
    assert dataset["loss"].dims == ("optimizer", "flow", "start", "step_size", "time")
    assert dataset["flow_loss"].dims == ("flow", "start", "step_size", "time")
    assert dataset["order"].dims == ("optimizer", "flow", "start")
    for name, m in (("M", M), ("2M", 2 * M)):
        values, vectors = np.linalg.eig(np.linalg.solve(m, H))
        flat, turned = np.linalg.eigh(H)
        for start in (0, 1):
            for row, h in enumerate(dataset["step_size"].values[1:], start=1):
                n = dataset["update"].values[row][:, None]
                flow = np.exp(-n * h * values) * np.linalg.solve(vectors, STARTS[start]) @ vectors.T
                euler = (1 - h * values) ** n * np.linalg.solve(vectors, STARTS[start]) @ vectors.T
                sgd = (1 - h * flat) ** n * (STARTS[start] @ turned) @ turned.T
                for optimizer, places in (("euler", euler), ("sgd", sgd)):
                    run = dataset.sel(optimizer=optimizer, flow=name, start=start).isel(step_size=row)
                    far = np.linalg.norm(places - flow, axis=1)
                    np.testing.assert_allclose(run["distance"], far, rtol=1e-6, atol=1e-7)
                    np.testing.assert_allclose(
                        run["loss"], np.sum(places @ H * places, axis=1) / 2, rtol=1e-8, atol=1e-12
                    )
                    in_metric = np.sqrt(np.sum((places - flow) @ m * (places - flow), axis=1))
                    np.testing.assert_allclose(run["distance_metric"], in_metric, rtol=1e-6, atol=1e-7)


def test_another_flow_keeps_its_distance(many):
    """Negative control of the orders: gradient descent is no discretisation of a flow in another metric."""
    errors = many[0]["error"].sel(optimizer="sgd", start=[0, 1])[..., 1:]
    assert (errors.min("step_size") > 0.5 * errors.max("step_size")).all()
    assert np.isnan(many[0]["order"].sel(optimizer="sgd")).all()


def test_what_can_not_be_compared_is_named_and_the_rest_goes_on(many):
    dataset, _ = many
    euler = dataset.sel(optimizer="euler", flow="M")
    assert set(euler["fate"].sel(start=3).values) == {"diverged"}
    assert set(euler["fate"].sel(start=2).values) == {"converged"}
    assert list(euler["fate"].sel(start=[0, 1]).values[:, 0]) == ["diverged"] * 2  # 0.3 is beyond the limit
    np.testing.assert_allclose(euler["order"].values, [1, 1, np.nan, np.nan], atol=0.05)
    np.testing.assert_allclose(
        dataset["predicted_limit"][0, 1, :3], 2 * dataset["predicted_limit"][0, 0, :3], rtol=1e-9
    )
    lines = dataset.attrs["notes"].split("\n")
    assert [line[:7] for line in lines] == ["Start 2", "Start 3"] * 2
    assert "is already at a critical point of flow 'M'" in lines[0]
    assert "the potential of flow '2M' is not finite there" in lines[3]


def test_one_program_serves_all_step_sizes_starts_and_metrics(many):
    """It asks for the optimizer where a run begins and where it goes on, and the shapes of the former before."""
    assert many[1] == 3


def test_portions_of_the_step_sizes_make_the_same_table(many, monkeypatch):
    flow = fm.GradientFlow(limited, fm.ConstantMetric(M))
    monkeypatch.setattr(sys.modules["flowmod.discrete.comparison._schedule"], "_STORED", 3 * 61 * 4)
    steps = [0.3, 0.003, 0.002, 0.004]
    part = compare(flow, {"euler": lambda h, flow: discretize(flow, h)}, STARTS[:2], steps, t1=0.6, starts=True)
    whole = many[0].sel(optimizer=["euler"], flow="M", start=[0, 1]).isel(step_size=slice(0, 4))
    for name in ("loss", "distance", "flow_loss", "error"):
        np.testing.assert_allclose(part[name], whole[name], rtol=1e-5, atol=1e-8)
    assert (part["distance"].values != whole["distance"].values).any()  # the flow's runs are others
    np.testing.assert_array_equal(part["fate"], whole["fate"])


def test_a_run_that_diverged_ends_and_the_others_of_its_chunk_go_on(monkeypatch):
    caught = []
    module = sys.modules["flowmod.discrete.comparison.compare"]
    monkeypatch.setattr(module, "notes", lambda sweeps, axes: caught.extend(sweeps) or [])
    compare(FLAT, {"sgd": optax.sgd}, START, [3000.0, 0.04], t1=50.0, updates=1200)
    [records] = caught[0].records
    assert records.made[0, 0] == 1250  # by rising step size
    assert records.made[0, 1] < 100
    # What is kept for the fate are the losses of the last iterates, in their order.
    values, vectors = np.linalg.eigh(H)
    n = np.arange(1250 - 127, 1251)[:, None]
    places = (1 - 0.04 * values) ** n * (START @ vectors) @ vectors.T
    np.testing.assert_allclose(records.tail_loss[0, 0], np.sum(places @ H * places, axis=1) / 2, rtol=1e-8)


def test_a_line_search_is_handed_the_loss():
    dataset = compare(FLAT, {"lbfgs": optax.lbfgs}, START, [0.1, 0.2], t1=1.0)
    # It finds Newton's direction, and goes so far along it.
    np.testing.assert_allclose(dataset["loss"][0, :, -1], 4 * np.array([0.9, 0.8]) ** 120, rtol=0.5)


# --- how many runs go side by side ---


def test_lanes_fit_the_cache_and_wait_little():
    spread = np.random.default_rng(0)
    for _ in range(200):
        updates = np.sort(spread.integers(60, 5000, spread.integers(1, 300)))
        size = int(spread.integers(1, 3000))
        lanes = lanes_for(updates, size)
        assert 1 <= lanes <= max(1, 2**12 // size)
        chunks = [updates[first : first + lanes] for first in range(0, len(updates), lanes)]
        made = sum(lanes * chunk.max() for chunk in chunks)
        assert lanes == 1 or made <= 1.25 * updates.sum()
    assert lanes_for(np.full(640, 1000), 33) == 107  # 124 fit; six chunks as even as may be
    assert lanes_for(np.array([60, 10**6]), 2) == 1


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (lambda y: jnp.sum(jnp.tanh(y) ** 2), False),
        (lambda y: jnp.linalg.solve(jnp.outer(y, y) + jnp.eye(2), y), True),
        (lambda y: jax.lax.cond(y[0] > 0, lambda y: y, lambda y: jnp.linalg.cholesky(jnp.diag(y))[0], y), True),
        (lambda y: jax.lax.fori_loop(0, 3, lambda i, y: jnp.linalg.eigh(jnp.diag(y))[0], y), True),
        (lambda y: fm.DenseMetric(lambda y, args: jnp.eye(2)).sharp(y, y), True),
        (lambda y: fm.Euclidean().sharp(y, y), False),
    ],
)
def test_factorisations_are_found_wherever_they_are(fn, expected):
    y = jnp.asarray(START)
    again, factorises = traced(fn, y)
    assert factorises == expected
    if not expected:
        np.testing.assert_array_equal(again(y), fn(y))


# --- programs, precisions, trees ---


@pytest.mark.slow
def test_single_precision():
    flow = fm.GradientFlow(quadratic, fm.ConstantMetric(jnp.asarray(M, jnp.float32)))
    start = jnp.asarray(START, jnp.float32)
    optimizers = {"euler": lambda h, flow: discretize(flow, h), "adam": optax.adam}
    dataset = compare(flow, optimizers, start, [0.02, 0.05], t1=1.0)
    assert dataset["loss"].dtype == dataset["distance"].dtype == np.float32
    values, vectors = np.linalg.eig(np.linalg.solve(M, H))
    modes = np.linalg.solve(vectors, START)
    for row, h in enumerate((0.02, 0.05)):
        n = dataset["update"].values[row][:, None]
        euler = (1 - h * values) ** n * modes @ vectors.T
        distance = np.linalg.norm(euler - np.exp(-h * n * values) * modes @ vectors.T, axis=1)
        np.testing.assert_allclose(dataset["distance"][0, row], distance, atol=1e-4)
        np.testing.assert_allclose(dataset["loss"][0, row], np.sum(euler @ H * euler, axis=1) / 2, atol=1e-5)


@pytest.mark.slow
def test_an_equinox_module(key):
    net = eqx.nn.MLP(2, 1, 3, 1, key=key)
    x = jax.random.normal(key, (8, 2))

    def loss(net, args):
        return args * jnp.mean((jax.vmap(net)(x)[:, 0] - jnp.sin(x[:, 0])) ** 2)

    flow, args = fm.GradientFlow(loss), 2.0
    optimizers = {
        "euler": lambda h: discretize(flow, h, args=args),
        "sgd": lambda h: optax.chain(optax.sgd(h), optax.scale_by_schedule(SCHEDULE(1.0, 1.0, 1, 10**9, 1.0))),
    }
    dataset = compare(flow, optimizers, net, [0.005, 0.01, 0.02, 0.04], t1=1.0, args=args)
    np.testing.assert_allclose(dataset["loss"].sel(optimizer="euler"), dataset["loss"].sel(optimizer="sgd"), rtol=1e-9)
    assert dataset["order"].values[:2] == pytest.approx([1, 1], abs=0.1)
    limits = dataset["predicted_limit"].values
    assert limits[0] == pytest.approx(limits[1], rel=1e-6)
    assert set(dataset["fate"].sel(optimizer=["euler", "sgd"]).values.ravel()) <= {"converged", "converging"}


def test_other_flows_with_a_potential():
    dataset = compare(toggle(), {"sgd": optax.sgd}, {"u": 3.0, "v": 5.0}, [0.01, 0.05], t1=1.0)
    assert np.isfinite(dataset["distance_metric"]).all()
    assert dataset["step_size"].attrs["units"] == "1"


def test_a_moving_metric():
    """M(t) = (1 + t)^2 and f = y^2 / 2: y = y0 exp(-t / (1 + t)), and Euler's iterates are a product."""

    def metric(t, y, args):
        return (1 + t) ** 2 * jnp.eye(1)

    flow = fm.GradientFlow(lambda y, args: jnp.sum(y**2) / 2, fm.MovingMetric(metric))
    dataset = compare(flow, steps_of(flow), jnp.ones(1), [0.01, 0.02, 0.04], t1=0.6)
    n, h = np.arange(61), 0.01
    euler = np.concatenate([[1.0], np.cumprod(1 - h / (1 + n[:-1] * h) ** 2)])
    run = dataset.sel(optimizer="euler", step_size=h)
    np.testing.assert_allclose(run["distance"], np.abs(euler - np.exp(-n * h / (1 + n * h))), atol=1e-8)
    np.testing.assert_allclose(run["distance_metric"], run["distance"] * (1 + n * h), rtol=1e-12)
    assert dataset["order"].values == pytest.approx([1, 2], abs=0.05)


# --- wrong input ---


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"flow": bowl}, "`flow` must be a flow, got function"),
        ({"flow": fm.VectorField(lambda t, y, args: -y)}, "`flow` must have a potential, .* VectorField without one"),
        ({"flow": fm.InertialFlow(bowl)}, "`flow` must be of first order, got InertialFlow"),
        ({"optimizers": [optax.sgd]}, r"`optimizers` must be a dict from names to functions .* got \["),
        ({"optimizers": {}}, "`optimizers` must be a dict"),
        ({"optimizers": {"a": optax.sgd(0.1)}}, r"`optimizers\['a'\]` must be a function from a step size"),
        ({"optimizers": {"a": lambda h: h}}, r"`optimizers\['a'\]` must return an optax transformation, got float"),
        ({"optimizers": {"a": lambda: 1}}, r"`optimizers\['a'\]` failed with TypeError: "),
        ({"optimizers": {"a": lambda h: 1 / 0}}, r"`optimizers\['a'\]` failed with ZeroDivisionError: division"),
        (
            {"optimizers": {"a": lambda h: optax.sgd(float(h))}},
            r"`optimizers\['a'\]` looks at the value of its numbers",
        ),
        ({"optimizers": {"a": lambda h: optax.sgd(h if h > 1 else 1)}}, r"`optimizers\['a'\]` looks at the value"),
        ({"step_sizes": []}, "`step_sizes` must be a one-dimensional array of numbers, got"),
        ({"step_sizes": 0.1}, "`step_sizes` must be a one-dimensional"),
        ({"step_sizes": [[0.1]]}, "`step_sizes` must be a one-dimensional"),
        ({"step_sizes": [[0.1], [0.1, 0.2]]}, "`step_sizes` must be a one-dimensional"),
        ({"step_sizes": ["a"]}, "`step_sizes` must be a one-dimensional"),
        ({"step_sizes": [0.1, 0.0]}, "`step_sizes` must be positive and finite, got 0: "),
        ({"step_sizes": [-0.1]}, "`step_sizes` must be positive and finite, got -0.1: "),
        ({"step_sizes": [np.nan]}, "`step_sizes` must be positive and finite, got nan: "),
        ({"step_sizes": [1e-12]}, "`step_sizes` must be larger: 1e-12 takes 1e.12 updates until t1 = 1"),
        ({"t1": 0.0}, "`t1` must be a positive, finite time, got 0.0"),
        ({"t1": np.inf}, "`t1` must be a positive, finite time, got inf"),
        ({"t1": "1"}, "`t1` must be a positive, finite time, got '1'"),
        ({"y0": {}}, "`y0` must hold at least one float array"),
        ({"y0": np.array([1, 2])}, "`y0` must hold float arrays, got int64"),
        ({"rtol": 1e-17}, "`rtol` must be at least"),
        ({"rtol": "a"}, "`rtol` must be a positive, finite number, got 'a'"),
        ({"atol": "a"}, "`atol` must be"),
        ({"updates": 59}, "`updates` must be a whole number of at least 60"),
        ({"updates": 60.5}, "`updates` must be a whole number"),
        ({"flow": {}}, "`flow` must be a flow, or a dict from names to flows"),
        ({"flow": {"a": bowl}}, "`flow` must be a flow, got function"),
        ({"flow": {"a": fm.InertialFlow(bowl)}}, r"`flow\['a'\]` must be of first order"),
        ({"starts": 1}, "`starts` must be True"),
        ({"starts": True, "y0": {"u": 1.0}}, "`y0` must have with `starts=True` a leading axis of one length"),
        ({"starts": True, "y0": {"u": np.ones(2), "v": np.ones(3)}}, "`y0` must have with `starts=True`"),
        ({"starts": True, "y0": np.array([[0.0], [np.nan]])}, "`y0` must be finite, .* in 'y' of start 1"),
        ({"y0": np.array([np.inf])}, "`y0` must be finite"),
        (
            {"optimizers": {"a": lambda h: optax.sgd(SCHEDULE(0.0, h, 1, 9))}},
            "Some schedules of optax look at their peak",
        ),
    ],
)
def test_wrong_input(changed, sentence):
    operands = {"flow": QUADRATIC, "optimizers": {"sgd": optax.sgd}, "y0": START, "step_sizes": [0.1], "t1": 1.0}
    with pytest.raises(ValueError, match=sentence):
        compare(**operands | changed)


def test_traced_arguments_are_refused():
    with pytest.raises(ValueError, match="`compare` runs outside of JAX transformations only"):
        jax.jit(lambda y: compare(QUADRATIC, {"sgd": optax.sgd}, y, [0.1], t1=1.0)["loss"].values)(jnp.asarray(START))
