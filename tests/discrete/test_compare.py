"""A flow and optimizers on one clock: distances, fates, orders and limits against closed forms."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.core import Tracer

import flowmod as fm
from flowmod.discrete import compare, discretize, step_limit
from tests.zoo import STATE_DEPENDENT, bowl, toggle

H, M = np.array([[4.0, 1.0], [1.0, 2.0]]), np.diag([2.0, 0.25])
"""Of oracle o10: eigenvalues 1.683 and 8.317 of M^-1 H."""


def quadratic(y, args):
    return y @ jnp.asarray(H, y.dtype) @ y / 2


QUADRATIC = fm.GradientFlow(quadratic, fm.ConstantMetric(M))
START = np.array([1.0, -2.0])


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
    others = {"sgd": optax.sgd, "adam": optax.adam, "nan": lambda h: optax.scale(jnp.nan)}
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
    assert small["fate"].dims == small["error"].dims == ("optimizer", "step_size")
    assert small["order"].dims == small["predicted_limit"].dims == small["limit_at_start"].dims == ("optimizer",)
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
    assert np.isnan(limits.sel(optimizer=["adam", "nan"])).all()
    np.testing.assert_allclose(small["limit_at_start"], limits, rtol=1e-9)


def test_an_optimizer_that_returns_nan_has_its_fate_and_the_others_go_on(small):
    assert set(small["fate"].sel(optimizer="nan").values) == {"diverged"}
    assert set(small["fate"].sel(optimizer="euler").values) == {"converged"}
    assert np.isnan(small["distance"].sel(optimizer="nan")[:, 1:]).all()
    assert (small["distance"].sel(optimizer="nan")[:, 0] == 0).all()


@pytest.mark.slow
def test_the_stability_limit_separates_the_fates():
    """Within 1 % of 2 / lambda_max, exactly, from a start along the fastest direction."""
    values, vectors = np.linalg.eig(np.linalg.solve(M, H))
    fastest = np.argmax(values)
    limit = 2 / values[fastest]
    dataset = compare(QUADRATIC, steps_of(QUADRATIC), vectors[:, fastest], [0.99 * limit, 1.01 * limit], 300 * limit)
    for name in ("euler", "heun"):
        assert list(dataset["fate"].sel(optimizer=name).values) == ["converged", "diverged"]
    assert float(dataset["predicted_limit"][0]) == pytest.approx(limit, rel=1e-9)


@pytest.mark.slow
def test_the_limit_along_the_flow_is_the_smallest():
    """A double well: the curvature rises from negative to 2 as the flow falls from its ridge."""
    flow = fm.GradientFlow(lambda y, args: jnp.sum((y**2 - 1) ** 2) / 4)
    dataset = compare(flow, steps_of(flow), jnp.array([0.1]), [0.1, 0.9, 1.1], t1=30.0)
    assert np.isinf(dataset["limit_at_start"][0])
    assert float(dataset["predicted_limit"][0]) == pytest.approx(1.0, rel=1e-6)
    assert list(dataset["fate"][0].values) == ["converged", "converged", "oscillating"]


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
    dataset = compare(flow, steps_of(flow) | {"sgd": optax.sgd}, net, np.geomspace(0.01, 0.1, 5), t1=1.0)
    assert dataset["order"].values[:2] == pytest.approx([1, 2], abs=0.05)
    assert dataset["limit_at_start"].values[:2] == pytest.approx(float(step_limit(flow, net)), rel=1e-6)
    # Negative control: gradient descent is another flow's discretisation, and keeps its distance to this one.
    errors = dataset["error"].sel(optimizer="sgd").values
    assert errors.min() > 0.5 * errors.max()


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
    module = sys.modules["flowmod.discrete.comparison.compare"]
    schedule = module.schedule

    def shifted(*operands):
        plan = schedule(*operands)
        return plan._replace(rows=np.concatenate([plan.rows[:, 1:], plan.rows[:, -1:]], axis=1))

    # 60 updates, so that every one is recorded.
    operands = (QUADRATIC, {"heun": steps_of(QUADRATIC)["heun"]}, START, [0.0002, 0.0004, 0.0008], 0.01)
    right = compare(*operands)
    monkeypatch.setattr(module, "schedule", shifted)
    wrong = compare(*operands)
    assert (wrong["error"] > 10 * right["error"]).all()
    slope = np.polyfit(np.log(wrong["step_size"]), np.log(wrong["error"][0]), 1)[0]
    assert slope == pytest.approx(1, abs=0.1)


def test_too_few_step_sizes_have_no_order(small):
    assert small["order"].sel(optimizer="euler") == pytest.approx(1, abs=0.05)
    assert np.isnan(small["order"].sel(optimizer="adam"))
    dataset = compare(QUADRATIC, steps_of(QUADRATIC), START, [0.001, 0.002], t1=1.0)
    assert np.isnan(dataset["order"]).all()


# --- fates ---


def test_the_wrong_sign_diverges():
    dataset = compare(QUADRATIC, {"up": lambda h: optax.scale(h)}, START, [0.01, 0.1], t1=2.0)
    assert set(dataset["fate"].values.ravel()) == {"diverged"}
    assert np.isnan(dataset["predicted_limit"]).all()


def test_a_signed_step_oscillates_and_a_small_ascent_is_worse():
    flow = fm.GradientFlow(lambda y, args: jnp.sum(y**2) / 2)
    others = {"sign": optax.sign_sgd, "up": lambda h: optax.scale(1e-3 * h)}
    dataset = compare(flow, others, jnp.array([1.03]), [0.1], t1=10.0)
    assert fate(dataset, "sign") == "oscillating"
    assert fate(dataset, "up") == "worse than its start"


def test_at_rest_nothing_happens():
    """At a minimum the flow's drop is zero, and what rounding does is no fate."""
    flow = fm.GradientFlow(lambda y, args: 3.0 + jnp.sum((y - 0.1) ** 2))
    dataset = compare(flow, {"sgd": optax.sgd}, jnp.array([0.1, 0.1]), [0.01, 0.1], t1=1.0)
    assert set(dataset["fate"].values.ravel()) == {"converged"}
    assert np.isnan(dataset["order"]).all()


def test_a_step_beyond_the_end_has_a_fate_but_no_error():
    dataset = compare(QUADRATIC, steps_of(QUADRATIC), START, [0.1, 0.2], t1=0.15)
    assert np.isnan(dataset["error"].values[:, 1]).all()
    assert np.isfinite(dataset["error"].values[:, 0]).all()
    assert list(dataset["fate"][0].values) == ["converged", "converged"]


@pytest.mark.slow
def test_a_flow_that_ends_after_the_time_is_compared_until_then():
    """`sqrt` is defined until t = 1 only; large step sizes ask for more."""
    flow = fm.VectorField(lambda t, y, args: -jnp.sqrt(4 - 4 * t) / y, potential=lambda y, args: jnp.sum(y**2))
    dataset = compare(flow, {"sgd": optax.sgd}, jnp.array([3.0]), [0.01, 0.05], t1=0.5)
    assert np.isfinite(dataset["distance"][0, 0]).all()
    last = dataset["distance"].values[0, 1]
    assert np.isfinite(last[:20]).all()
    assert np.isnan(last[-1])
    assert set(dataset["fate"].values.ravel()) == {"converged"}
    with pytest.raises(fm.SimulationError, match="The run stopped at t = "):
        compare(flow, {"sgd": optax.sgd}, jnp.array([3.0]), [0.01], t1=1.5)


# --- which optimizers are plain gradient descent ---


@pytest.mark.parametrize(
    ("make", "is_plain"),
    [
        (lambda h: optax.chain(optax.scale(2.0), optax.scale(-h / 2)), True),
        (lambda h: optax.sgd(lambda count: h), True),
        (lambda h: optax.sgd(h, momentum=0.9), False),
        (lambda h: optax.chain(optax.clip_by_global_norm(100.0), optax.sgd(h)), False),
        (lambda h: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(h)), False),
        (lambda h: optax.sgd(lambda count: h * 0.5 ** (count // 10**4)), False),
        (lambda h: optax.sgd(2 * h), False),
    ],
)
def test_plain_gradient_descent_is_recognised_by_its_updates(make, is_plain):
    dataset = compare(QUADRATIC, {"it": make}, START, [0.01], t1=0.1)
    assert np.isfinite(dataset["predicted_limit"].values[0]) == is_plain


# --- programs, precisions, trees ---


def test_one_program_serves_all_step_sizes():
    seen = []

    def make(h):
        seen.append(isinstance(h, Tracer))
        return optax.sgd(h)

    compare(QUADRATIC, {"sgd": make}, START, np.geomspace(0.01, 0.1, 9), t1=0.5)
    assert sum(seen) == 1
    compare(QUADRATIC, {"sgd": make}, START, np.geomspace(0.02, 0.3, 9), t1=0.4)
    assert sum(seen) == 1


@pytest.mark.slow
def test_single_precision():
    wide = compare(QUADRATIC, steps_of(QUADRATIC) | {"adam": optax.adam}, START, [0.02, 0.05], t1=1.0)
    flow = fm.GradientFlow(quadratic, fm.ConstantMetric(jnp.asarray(M, jnp.float32)))
    start = jnp.asarray(START, jnp.float32)
    narrow = compare(flow, steps_of(flow) | {"adam": optax.adam}, start, [0.02, 0.05], t1=1.0)
    assert narrow["loss"].dtype == narrow["distance"].dtype == np.float32
    np.testing.assert_allclose(narrow["loss"], wide["loss"], atol=1e-4)
    np.testing.assert_allclose(narrow["distance"], wide["distance"], atol=1e-3)


@pytest.mark.slow
def test_an_equinox_module(key):
    net = eqx.nn.MLP(2, 1, 3, 1, key=key)
    x = jax.random.normal(key, (8, 2))

    def loss(net, args):
        return args * jnp.mean((jax.vmap(net)(x)[:, 0] - jnp.sin(x[:, 0])) ** 2)

    flow, args = fm.GradientFlow(loss), 2.0
    optimizers = {
        "euler": lambda h: discretize(flow, h, args=args),
        "heun": lambda h: optax.chain(discretize(flow, h, "heun", args), optax.identity()),
        "sgd": optax.sgd,
        "adam": optax.adam,
        "lbfgs": optax.lbfgs,
    }
    dataset = compare(flow, optimizers, net, [0.005, 0.01, 0.02, 0.04], t1=1.0, args=args)
    np.testing.assert_allclose(dataset["loss"].sel(optimizer="euler"), dataset["loss"].sel(optimizer="sgd"), rtol=1e-9)
    assert dataset["order"].values[:3] == pytest.approx([1, 2, 1], abs=0.1)
    limits = dataset["predicted_limit"].values
    assert limits[0] == pytest.approx(limits[2], rel=1e-6)
    assert set(dataset["fate"].sel(optimizer=["euler", "heun", "sgd"]).values.ravel()) == {"converged"}


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
        ({"optimizers": {"a": lambda h: optax.sgd(float(h))}}, r"`optimizers\['a'\]` looks at the value of its step"),
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
    ],
)
def test_wrong_input(changed, sentence):
    operands = {"flow": QUADRATIC, "optimizers": {"sgd": optax.sgd}, "y0": START, "step_sizes": [0.1], "t1": 1.0}
    with pytest.raises(ValueError, match=sentence):
        compare(**operands | changed)


def test_traced_arguments_are_refused():
    with pytest.raises(ValueError, match="`compare` runs outside of JAX transformations only"):
        jax.jit(lambda y: compare(QUADRATIC, {"sgd": optax.sgd}, y, [0.1], t1=1.0)["loss"].values)(jnp.asarray(START))
