"""Measured stability: twins on changed data against closed forms and naive reruns, and the ladder's slope."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.contraction.stability._leave_out import rescaled
from flowmod.contraction.stability._sample_parts import ignores_data, is_mean, require_sum
from flowmod.contraction.stability._samples import loss_of
from flowmod.contraction.stability._twins import Method, Problem, Rung, _failure, rung
from flowmod.contraction.stability.measure import _method, _require_clear

HESSIAN = np.array([[2.0, 0.6], [0.6, 1.0]])
METRIC = np.array([[1.5, -0.4], [-0.4, 0.8]])
POOL = np.random.default_rng(5).normal(size=(220, 2))
EVERYTHING = np.vstack([POOL, [[1.0, -2.0]]])
SIZES = [20, 60, 180]
START = np.array([1.0, -2.0])
STEP = 0.05


def quadratic_loss(y, z):
    return (y - z) @ jnp.asarray(HESSIAN) @ (y - z) / 2


def quadratic(y, data):
    return jnp.mean(jax.vmap(quadratic_loss, in_axes=(None, 0))(y, data))


@pytest.fixture(scope="module")
def strict():
    """A flow that contracts for every data set, in steps: `y = mean + (1 - h M^-1 H)^k (y0 - mean)`."""
    flow = fm.GradientFlow(quadratic, fm.ConstantMetric(jnp.asarray(METRIC)))
    options = {"key": jax.random.key(3), "loss": quadratic_loss, "step_size": STEP}
    return flow, fm.measure_stability(flow, POOL, jnp.array(START), 1.5, SIZES, **options)


@pytest.fixture(scope="module")
def strict_run(strict):
    flow, ladder = strict
    times = np.linspace(0, ladder.t1, 9)
    return fm.simulate(flow, jnp.array(START), ts=times, args=strict_run_data(strict))


def strict_run_data(strict):
    return POOL[strict[1].changed]


def generator_and_rate():
    values, vectors = np.linalg.eig(np.linalg.solve(METRIC, HESSIAN))
    return (lambda t: (vectors * np.exp(-values * t)) @ np.linalg.inv(vectors)), values.min()


def in_steps(t):
    return np.linalg.matrix_power(np.eye(2) - STEP * np.linalg.solve(METRIC, HESSIAN), round(t / STEP))


def test_a_strictly_contracting_flow_is_where_its_closed_form_says(strict, strict_run):
    flow, _ = strict
    evolve, _ = generator_and_rate()
    mean = strict_run_data(strict).mean(axis=0)
    expected = [mean + evolve(t) @ (START - mean) for t in strict_run.ts]
    np.testing.assert_allclose(strict_run.ys, expected, atol=1e-2)
    # One size by the solver; its steps are those of `measure_stability`.
    method = _method(np.dtype("float64"), 1.5, None, {}, 10_000)
    problem = Problem(flow, jnp.array(START), jnp.asarray(POOL), jnp.asarray(POOL), quadratic_loss, None, 1.5, method)
    found = rung(problem, np.arange(20), np.arange(200, 205), 5)
    apart = (POOL[200:205] - POOL[:5]) / 20 @ (np.eye(2) - evolve(1.5)).T
    np.testing.assert_allclose(found.parameters, np.linalg.norm(apart, axis=1), atol=1e-9)
    np.testing.assert_allclose(found.distance, np.sqrt(np.einsum("ij,jk,ik->i", apart, METRIC, apart)), atol=1e-9)


def test_the_steps_of_a_strictly_contracting_flow_are_where_their_closed_form_says(strict):
    _, ladder = strict
    end_of = in_steps(1.5)
    for row, n in enumerate(SIZES):
        moved = (POOL[ladder.replacements] - POOL[ladder.changed]) / n
        apart = moved @ (np.eye(2) - end_of).T
        np.testing.assert_allclose(ladder.parameters[row], np.linalg.norm(apart, axis=1), atol=1e-9)
        in_metric = np.sqrt(np.einsum("ij,jk,ik->i", apart, METRIC, apart))
        np.testing.assert_allclose(ladder.distance[row], in_metric, atol=1e-9)
    # The losses of the largest n, from the ends; the data of one n are part of those of the next.
    data = POOL[np.asarray(jax.random.permutation(jax.random.key(3), len(POOL)))[:180]]
    end = data.mean(axis=0) + end_of @ (START - data.mean(axis=0))
    twins = end + apart

    def losses(y):
        return np.einsum("ij,jk,ik->i", y - POOL, HESSIAN, y - POOL) / 2

    expected = np.abs(np.stack([losses(twin) - losses(end) for twin in twins]))
    np.testing.assert_allclose(ladder.loss[2], expected, atol=1e-8)
    assert ladder.prediction is None


def test_its_slope_is_minus_one(strict):
    _, ladder = strict
    for quantity in ("loss", "distance", "parameters"):
        assert abs(ladder.fit(quantity).slope + 1) < 0.1
        assert abs(ladder.fit(quantity, mean=True).slope + 1) < 0.1
    assert (ladder.slope, ladder.error) == ladder.fit()
    x, y = np.log(SIZES), np.log(ladder.largest())
    coefficients, covariance = np.polyfit(x, y, 1, cov=True)
    assert ladder.slope == pytest.approx(coefficients[0], rel=1e-9)
    assert ladder.error == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-9)


def test_it_stays_below_its_certificate_and_the_measured_one(strict, strict_run):
    flow, ladder = strict
    _, rate = generator_and_rate()
    # All states lie in the ellipses of the metric around start and data: a ball that holds them is known roughly.
    widest = np.max([np.linalg.norm(np.linalg.cholesky(METRIC).T @ (z - a)) for a in EVERYTHING for z in EVERYTHING])
    kappa = np.linalg.norm(HESSIAN, 2) * 2 * widest / np.sqrt(np.linalg.eigvalsh(METRIC)[0])
    declared = fm.stability_bound(kappa, rate, np.linalg.eigvalsh(METRIC)[0], SIZES, t=ladder.t1, step_size=STEP)
    assert (ladder.largest() <= declared.beta).all()
    assert (ladder.largest("distance") <= declared.distance).all()
    data, run = strict_run_data(strict), strict_run
    measured = fm.stability_constants(flow, run, data, POOL, loss=quadratic_loss)
    gradients = [[HESSIAN @ (y - z) for z in POOL] for y in run.ys]
    assert measured.kappa == pytest.approx(np.linalg.norm(gradients, axis=2).max(), rel=1e-9)
    assert measured.rate == pytest.approx(rate, rel=1e-9)
    assert measured.mu == pytest.approx(np.linalg.eigvalsh(METRIC)[0], rel=1e-9)
    assert measured.metric_term == 0
    dual = fm.stability_constants(flow, run, data, POOL, loss=quadratic_loss, dual=True)
    lengths = np.sqrt(np.einsum("tzi,ij,tzj->tz", gradients, np.linalg.inv(METRIC), gradients))
    assert (dual.kappa, dual.mu) == (pytest.approx(lengths.max(), rel=1e-9), 1.0)
    for constants in (measured, dual):
        assert constants.bound(ladder.sizes, t=ladder.t1).measured
        bound = fm.stability_bound(**constants._asdict(), n=ladder.sizes, t=ladder.t1, step_size=STEP)
        assert "estimates" in str(constants)
        assert (ladder.largest() <= bound.beta).all()
    assert dual.bound(8).beta < measured.bound(8).beta


# --- ridge regression: leave-one-out in closed form, and the layerwise metric made anew from the data ---

RNG = np.random.default_rng(11)
INPUTS = RNG.normal(size=(60, 3))
TARGETS = INPUTS @ RNG.normal(size=(3, 1)) + 0.3 * RNG.normal(size=(60, 1))
RIDGE, MASS = 0.3, 0.7
NET = fm.Linear(3, 1, use_bias=False, key=jax.random.key(0))
PROBLEM = fm.Supervised(NET, fm.MeanSquaredError(), regularizer=fm.WeightDecay(RIDGE))
LAYERWISE = fm.GradientFlow(PROBLEM, fm.LayerwiseMetric(NET, mass=MASS))


def test_leave_one_out_of_ridge_regression_is_the_closed_form():
    flow = fm.GradientFlow(PROBLEM)
    options = {"key": jax.random.key(1), "kind": "leave-one-out", "step_size": 0.2}
    ladder = fm.measure_stability(flow, (INPUTS, TARGETS), NET, 60.0, [4, 8, 25], **options)
    assert ladder.replacements is None
    for row, n in enumerate(ladder.sizes):
        count, order = min(n, 20), np.asarray(jax.random.permutation(jax.random.key(1), 60))[:n]
        x, targets = INPUTS[order], TARGETS[order, 0]
        normal = x.T @ x + n * RIDGE * np.eye(3)
        weights = np.linalg.solve(normal, x.T @ targets)
        residual, leverage = targets - x @ weights, np.einsum("ij,ji->i", x, np.linalg.solve(normal, x.T))
        moved = -(np.linalg.solve(normal, x.T) * (residual / (1 - leverage))).T[:count]
        np.testing.assert_allclose(ladder.parameters[row, :count], np.linalg.norm(moved, axis=1), atol=1e-8)
        np.testing.assert_allclose(ladder.prediction[row, :count], np.abs(moved @ INPUTS.T), atol=1e-8)
        before = INPUTS @ weights - TARGETS[:, 0]
        losses = np.abs((before + moved @ INPUTS.T) ** 2 - before**2) / 2
        np.testing.assert_allclose(ladder.loss[row, :count], losses, atol=1e-8)
        assert np.isnan(ladder.loss[row, count:]).all()
        # With the weights 1/(n - 1) of a smaller data set it would be another number.
        rest = np.delete(x, 0, axis=0)
        other = np.linalg.solve(rest.T @ rest + (n - 1) * RIDGE * np.eye(3), rest.T @ np.delete(targets, 0))
        assert abs(ladder.parameters[row, 0] - np.linalg.norm(other - weights)) > 1e-4


def steps_of(inputs, targets, weight, start, step, count):
    """Euler's method for ridge regression in the layerwise metric, in NumPy; each sample has the weight given."""
    w = start.copy()
    metric = MASS * np.eye(3) + weight * inputs.T @ inputs
    for _ in range(count):
        w = w - step * np.linalg.solve(metric, weight * inputs.T @ (inputs @ w - targets) + RIDGE * w)
    return w


def test_twins_of_a_layerwise_optimizer_have_their_metric_made_anew():
    samples = (jnp.asarray(INPUTS), jnp.asarray(TARGETS))
    loss, method = loss_of(LAYERWISE, None), Method({}, 0.25, 20)
    problem, n = Problem(LAYERWISE, NET, samples, samples, loss, None, 5.0, method), 12
    found = rung(problem, np.arange(n), np.arange(24, 30), 6)
    x, targets, start = INPUTS[:n], TARGETS[:n, 0], np.asarray(NET.weight[0])
    base = steps_of(x, targets, 1 / n, start, 0.25, 20)
    for twin in range(6):
        other, aims = x.copy(), targets.copy()
        other[twin], aims[twin] = INPUTS[24 + twin], TARGETS[24 + twin, 0]
        moved = steps_of(other, aims, 1 / n, start, 0.25, 20) - base
        np.testing.assert_allclose(found.parameters[twin], np.linalg.norm(moved), rtol=1e-9)
        in_metric = np.sqrt(moved @ (MASS * np.eye(3) + x.T @ x / n) @ moved)
        np.testing.assert_allclose(found.distance[twin], in_metric, rtol=1e-9)
        changes = np.abs((INPUTS @ (base + moved) - TARGETS[:, 0]) ** 2 - (INPUTS @ base - TARGETS[:, 0]) ** 2) / 2
        np.testing.assert_allclose(found.loss[twin], changes, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("output", [fm.OutputIdentity(), fm.OutputHessian(fm.MeanSquaredError())])
def test_a_sample_that_is_left_out_leaves_the_weights_of_the_others(output):
    """One evaluation of the flow against a dense solve, with the gradient in the range of the rows and beyond it."""
    n, flow = 8, fm.GradientFlow(PROBLEM, fm.LayerwiseMetric(NET, output=output, mass=MASS))
    x, targets = INPUTS[1:n], TARGETS[1:n]
    data = (jnp.asarray(x), jnp.asarray(targets))
    flows = (rescaled(flow, (n - 1) / n), flow)
    velocity, plain = eqx.filter_jit(lambda: [flow.vector_field(0.0, NET, data).weight[0] for flow in flows])()
    w = np.asarray(NET.weight[0])
    metric = MASS * np.eye(3) + x.T @ x / n
    naive = -np.linalg.solve(metric, x.T @ (x @ w - targets[:, 0]) / n + RIDGE * w)
    np.testing.assert_allclose(velocity, naive, rtol=1e-9)
    assert np.abs(plain - naive).max() > 1e-3


@pytest.fixture(scope="module")
def layerwise_run(strict_run):
    """States that no run came to do as well."""
    scales = np.linspace(1, -1, 5)
    states = jax.tree.map(lambda leaf: scales[:, None, None] * np.asarray(leaf), NET)
    return dataclasses.replace(strict_run, ts=np.linspace(0, 2.0, 5), ys=states)


@pytest.mark.parametrize("kind", ["replace-one", "leave-one-out"])
def test_the_constants_of_a_layerwise_flow(kind, layerwise_run):
    data, run = (INPUTS[:12], TARGETS[:12]), layerwise_run
    found = fm.stability_constants(LAYERWISE, run, data, (INPUTS, TARGETS), kind=kind)
    w = np.asarray(run.ys.weight)[:, 0]
    mean = INPUTS[:12].T @ INPUTS[:12] / 12
    gradients = [(INPUTS @ y - TARGETS[:, 0])[:, None] * INPUTS for y in w]
    slopes = np.stack([mean @ y - INPUTS[:12].T @ TARGETS[:12, 0] / 12 + RIDGE * y for y in w])
    velocity = -np.linalg.solve(MASS * np.eye(3) + mean, slopes.T).T
    parts = np.einsum("zi,zj,tj->tzi", INPUTS, INPUTS, velocity)
    if kind == "replace-one":
        parts = parts - (velocity @ mean)[:, None]
    assert found.kappa == pytest.approx(np.linalg.norm(gradients, axis=2).max(), rel=1e-6)
    assert found.metric_term == pytest.approx(np.linalg.norm(parts, axis=2).max(), rel=1e-6)
    assert (found.mu, found.kind) == (pytest.approx(MASS), kind)
    assert found.bound(12).kind == kind


# --- the table, and what is refused ---


def ladder_of(values, **fields):
    values = np.asarray(values, dtype=float)
    flat = values.max(axis=2)
    given = {"prediction": None, "changed": np.arange(2), "replacements": None, "kind": "leave-one-out"} | fields
    return fm.StabilityLadder(np.array(SIZES), values, distance=flat, parameters=flat, t1=1.0, step_size=None, **given)


def test_the_table(strict):
    _, ladder = strict
    dataset = dataclasses.replace(ladder, step_size=None).to_xarray()
    assert dataset["loss"].dims == ("size", "twin", "probe")
    assert dataset["distance"].dims == ("size", "twin")
    np.testing.assert_array_equal(dataset["size"], SIZES)
    np.testing.assert_array_equal(dataset["replacement"], ladder.replacements)
    assert dataset.attrs == {"kind": "replace-one", "t1": 1.5}
    assert "prediction" not in dataset
    assert ladder.to_xarray().attrs["step_size"] == STEP
    assert "Euler's method, steps of 0.05, until t = 1.5" in str(ladder)
    text = str(dataclasses.replace(ladder, step_size=None))
    assert text.startswith("One sample replaced; the flow until t = 1.5")
    assert f"slope of the largest {ladder.slope:.3f}" in text
    with pytest.raises(ValueError, match="`quantity` must be one of loss, distance, parameters, got 'prediction'"):
        ladder.largest("prediction")


def test_changes_that_are_zero_have_no_slope():
    values = np.ones((3, 2, 4))
    values[2] = 0
    law = ladder_of(values).fit()
    assert np.isnan(law.slope)
    assert np.isnan(law.error)


def call(flow=None, data=POOL, sizes=SIZES, **options):
    flow = fm.GradientFlow(quadratic) if flow is None else flow
    y0 = NET if isinstance(getattr(flow, "potential", None), fm.Supervised) else jnp.zeros(2)
    chosen = {"key": jax.random.key(0), "loss": quadratic_loss, "y0": y0, "t1": 1.0} | options
    return fm.measure_stability(flow, data, sizes=sizes, **chosen)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"flow": quadratic}, "`flow` must be a flow, got function"),
        ({"sizes": [1, 2, 4]}, r"`sizes` must be whole numbers of samples from 2, got \[1, 2, 4\]: .* no stability"),
        ({"sizes": [4, 8]}, "`sizes` must be at least three ascending numbers"),
        ({"sizes": [8, 4, 16]}, "`sizes` must be at least three ascending numbers"),
        ({"sizes": 8}, "`sizes` must be at least three ascending numbers"),
        ({"sizes": [8, 16, 300]}, "`sizes` must not go beyond the 220 samples of `data`, got 300"),
        ({"sizes": [8, 16, 210]}, "`data` must hold 210 samples and 20 to replace some of them with, got 220: take"),
        ({"twins": None, "sizes": [8, 16, 120]}, "`data` must hold 120 samples and 120 to replace"),
        ({"twins": 0}, "`twins` must be a whole number from 1"),
        ({"data": (POOL, POOL[:5])}, r"`data` must be arrays with one entry for each sample .* lengths \[5, 220\]"),
        ({"data": POOL[:1]}, "`sizes` must not go beyond the 1 samples"),
        ({"data": {}}, "`data` must be arrays with one entry for each sample"),
        ({"data": {"x": np.full((220, 2), np.nan)}}, "`data.x` must be finite, but sample 0 is not"),
        ({"loss": None}, r"`loss` must be given, `loss\(y, sample\)`"),
        ({"loss": lambda y: 0.0}, r"`loss` must be a function of \(y, sample\)"),
        ({"t1": -1.0}, "`t1` must be a finite number above 0"),
        ({"step_size": 0.0}, "`step_size` must be a finite number above 0"),
        ({"step_size": 0.3}, "`t1` must be a whole number of steps of 0.3, got 1, 3.333 of them"),
        ({"step_size": 0.1, "rtol": 1e-3}, "`rtol` is for the flow itself: leave it out"),
        ({"kind": "jackknife"}, "`kind` must be 'replace-one' or 'leave-one-out'"),
        ({"kind": "leave-one-out"}, '`kind="leave-one-out"` keeps the weight 1/n .* `fm.Supervised`'),
    ],
)
def test_wrong_arguments_are_named_before_anything_runs(wrong, complaint):
    with pytest.raises(ValueError, match=complaint):
        call(**wrong)


def test_flows_that_bring_their_data_or_weigh_them_unknown_are_refused():
    owner = fm.Supervised(NET, fm.MeanSquaredError(), INPUTS, TARGETS)
    with pytest.raises(ValueError, match=r"`flow` must take its data from `args`, .* its problem has some of its own"):
        call(fm.GradientFlow(owner), (INPUTS, TARGETS))
    reads = fm.GradientFlow(PROBLEM, fm.DenseMetric(lambda y, args: jnp.eye(3) + args[0].T @ args[0] / len(args[0])))
    with pytest.raises(ValueError, match="in a metric of your own that reads the data it is not known"):
        call(reads, (INPUTS, TARGETS), [5, 10, 20], kind="leave-one-out")
    for metric in (fm.PerSampleMetric(NET), fm.SubsetMetric(fm.LayerwiseMetric(NET), 4)):
        with pytest.raises(ValueError, match=f"each sample adds a part of its own.* of {type(metric).__name__} it is"):
            call(fm.GradientFlow(PROBLEM, metric), (INPUTS, TARGETS), [5, 10, 20], kind="leave-one-out")
        with pytest.raises(ValueError, match=f"of {type(metric).__name__} it is not known"):
            require_sum(fm.BlockMetric((fm.Euclidean(), metric)))
    traced = eqx.filter_jit(lambda y0: call(y0=y0))
    with pytest.raises(ValueError, match="runs outside of JAX transformations only"):
        traced(jnp.zeros(2))


def covariance(scale):
    """`I` and the sum of `z z^T` times a scale that may know the number of samples."""
    return lambda y, data: jnp.eye(2) + scale(data) * data.T @ data


MEAN, SUM = covariance(lambda data: 1 / len(data)), covariance(lambda data: 1.0)
EQUAL = np.tile([[3.0, 0.0]], (8, 1))


def test_a_metric_of_ones_own_is_taken_for_a_mean_only_if_it_is_one():
    pool, same, y = jnp.asarray(POOL[:12]), jnp.asarray(EQUAL), jnp.ones(2)
    constant, mean, total = fm.ConstantMetric(jnp.asarray(METRIC)), fm.DenseMetric(MEAN), fm.DenseMetric(SUM)
    of_twelve, broken = (fm.DenseMetric(covariance(lambda data, s=s: s)) for s in (1 / 12, jnp.nan))
    # Beside a large block a small one counts too.
    blocks = fm.BlockMetric((fm.ConstantMetric(1e12 * jnp.eye(2)), total))
    labels = fm.DenseMetric(lambda y, data: jnp.eye(2) * (1 + jnp.mean(data[1], dtype=float)))
    kinds = [np.zeros(8, dtype=int), np.ones(8, dtype=int), np.zeros(8, dtype=bool)]

    @eqx.filter_jit
    def answers(pool, same, y):
        # What is not finite is complained of elsewhere.
        means = [is_mean(metric, y, pool) for metric in (constant, mean, broken, total, of_twelve)]
        ignored = [ignores_data(metric, y, same) for metric in (constant, mean)]
        labelled = [ignores_data(labels, y, (same, jnp.asarray(values))) for values in kinds]
        return [*means, is_mean(blocks, (y, y), pool)], ignored, labelled

    means, ignored, labelled = answers(pool, same, y)
    assert list(map(bool, means)) == [True, True, True, False, False, False]
    assert list(map(bool, ignored)) == [True, False]
    assert not any(map(bool, labelled))


@pytest.mark.parametrize(
    ("metric", "kind", "complaint"),
    [
        (SUM, "replace-one", "`flow` must have a metric that is a mean over the samples.*divide the sum by"),
        (MEAN, "leave-one-out", "in a metric of your own that reads the data it is not known where that is"),
    ],
)
def test_constants_of_metrics_with_unknown_weights_are_refused(metric, kind, complaint, strict_run):
    data = EQUAL if kind == "leave-one-out" else POOL[:20]
    flow = fm.GradientFlow(quadratic, fm.DenseMetric(metric))
    with pytest.raises(ValueError, match=complaint):
        fm.stability_constants(flow, strict_run, data, loss=quadratic_loss, kind=kind)


def test_runs_that_fail_say_so():
    steep = fm.GradientFlow(lambda y, args: -jnp.sum(y**4) + jnp.mean(args) * jnp.sum(y))
    with pytest.raises(RuntimeError, match=r"The run on 20 samples did not end in finite numbers. Try: a smaller"):
        call(steep, y0=jnp.ones(2), t1=8.0, step_size=0.5)
    # The program that runs all twins tells only which one failed; why is found by running that one again.
    problem = Problem(steep, jnp.ones(2), jnp.asarray(POOL), None, None, None, 8.0, Method({"max_steps": 200}))
    error = _failure(problem, np.arange(20), 20, 3)
    assert isinstance(error, fm.SimulationError)
    assert str(error).startswith(
        "The run on 20 samples, with sample 2 of them changed, failed. The run stopped at t = "
    )
    assert error.trajectory.end_time < 1


def test_errors_of_the_solver_that_could_be_seen_are_refused():
    ends = Rung(
        loss=None, prediction=None, distance=None, parameters=np.array([1e-3, 2e-3]), length=np.array([5.0, 5.0])
    )
    _require_clear([ends], Method({"rtol": 1e-8, "atol": 1e-9}))
    _require_clear([ends], Method({}, step_size=0.1, steps=10))
    with pytest.raises(ValueError, match=r"`rtol` and `atol` must be small .* allow errors of 5.1e-06 .* is 2.0e-03"):
        _require_clear([ends], Method({"rtol": 1e-6, "atol": 1e-7}))
    still = ends._replace(parameters=np.zeros(2))
    with pytest.raises(ValueError, match="`flow` must take its data from `args`, and it ended in the same state"):
        _require_clear([still, still], Method({}, step_size=0.1, steps=10))


def test_constants_are_refused_where_they_mean_nothing(strict, strict_run):
    (flow, _), run = strict, strict_run
    field = fm.VectorField(lambda t, y, args: -y)
    with pytest.raises(ValueError, match="`flow` must be a gradient flow, got VectorField"):
        fm.stability_constants(field, run, POOL, loss=quadratic_loss)
    with pytest.raises(ValueError, match="`trajectory` must be a Trajectory of the flow, got ndarray"):
        fm.stability_constants(flow, POOL, POOL, loss=quadratic_loss)
    with pytest.raises(ValueError, match="the constant `kappa` is nan: leave out the times"):
        fm.stability_constants(flow, run, POOL[:20], loss=lambda y, z: jnp.log(-jnp.sum(z**2)) * jnp.sum(y))
