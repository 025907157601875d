"""Measured stability: twins on changed data against closed forms and naive reruns, and the ladder's slope."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.contraction.stability._leave_out import rescaled
from flowmod.contraction.stability._twins import Method, Problem, Rung, _failure
from flowmod.contraction.stability.measure import _require_clear

HESSIAN = np.array([[2.0, 0.6], [0.6, 1.0]])
METRIC = np.array([[1.5, -0.4], [-0.4, 0.8]])
POOL = np.random.default_rng(5).normal(size=(220, 2))
EVERYTHING = np.vstack([POOL, [[1.0, -2.0]]])
SIZES = [20, 60, 180]


def quadratic_loss(y, z):
    return (y - z) @ jnp.asarray(HESSIAN) @ (y - z) / 2


def quadratic(y, data):
    return jnp.mean(jax.vmap(quadratic_loss, in_axes=(None, 0))(y, data))


@pytest.fixture(scope="module")
def strict():
    """A flow that contracts for every data set: `y(t) = mean + exp(-M^-1 H t)(y0 - mean)`."""
    flow = fm.GradientFlow(quadratic, fm.ConstantMetric(jnp.asarray(METRIC)))
    start = jnp.array([1.0, -2.0])
    return flow, fm.measure_stability(flow, POOL, start, 1.5, SIZES, key=jax.random.key(3), loss=quadratic_loss)


def generator_and_rate():
    values, vectors = np.linalg.eig(np.linalg.solve(METRIC, HESSIAN))
    return (lambda t: (vectors * np.exp(-values * t)) @ np.linalg.inv(vectors)), values.min()


def test_a_strictly_contracting_flow_is_where_its_closed_form_says(strict):
    _, ladder = strict
    evolve, _ = generator_and_rate()
    start = np.array([1.0, -2.0])
    for row, n in enumerate(SIZES):
        moved = (POOL[ladder.replacements] - POOL[ladder.changed]) / n
        apart = moved @ (np.eye(2) - evolve(1.5)).T
        np.testing.assert_allclose(ladder.parameters[row], np.linalg.norm(apart, axis=1), atol=1e-9)
        in_metric = np.sqrt(np.einsum("ij,jk,ik->i", apart, METRIC, apart))
        np.testing.assert_allclose(ladder.distance[row], in_metric, atol=1e-9)
    # The losses of the largest n, from the ends; the data of one n are part of those of the next.
    data = POOL[np.asarray(jax.random.permutation(jax.random.key(3), len(POOL)))[:180]]
    end = data.mean(axis=0) + evolve(1.5) @ (start - data.mean(axis=0))
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


def test_it_stays_below_its_certificate_and_the_measured_one(strict):
    flow, ladder = strict
    _, rate = generator_and_rate()
    # All states lie in the ellipses of the metric around start and data: a ball that holds them is known roughly.
    widest = np.max([np.linalg.norm(np.linalg.cholesky(METRIC).T @ (z - a)) for a in EVERYTHING for z in EVERYTHING])
    kappa = np.linalg.norm(HESSIAN, 2) * 2 * widest / np.sqrt(np.linalg.eigvalsh(METRIC)[0])
    declared = fm.stability_bound(kappa, rate, np.linalg.eigvalsh(METRIC)[0], SIZES, t=ladder.t1)
    assert (ladder.largest() <= declared.beta).all()
    assert (ladder.largest("distance") <= declared.distance).all()
    data = POOL[ladder.changed]
    run = fm.simulate(flow, jnp.array([1.0, -2.0]), ts=np.linspace(0, ladder.t1, 9), args=data)
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
        bound = constants.bound(ladder.sizes, t=ladder.t1)
        assert bound.measured
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
    ladder = fm.measure_stability(
        LAYERWISE, (INPUTS, TARGETS), NET, 5.0, [6, 12, 24], key=jax.random.key(2), twins=6, step_size=0.25
    )
    order, start = np.asarray(jax.random.permutation(jax.random.key(2), 60)), np.asarray(NET.weight[0])
    np.testing.assert_array_equal(ladder.changed, order[:6])
    np.testing.assert_array_equal(ladder.replacements, order[24:30])
    for row, n in enumerate(ladder.sizes):
        x, targets = INPUTS[order[:n]], TARGETS[order[:n], 0]
        base = steps_of(x, targets, 1 / n, start, 0.25, 20)
        frozen = []
        for twin in range(6):
            other, aims = x.copy(), targets.copy()
            other[twin], aims[twin] = INPUTS[order[24 + twin]], TARGETS[order[24 + twin], 0]
            moved = steps_of(other, aims, 1 / n, start, 0.25, 20) - base
            np.testing.assert_allclose(ladder.parameters[row, twin], np.linalg.norm(moved), rtol=1e-9)
            in_metric = np.sqrt(moved @ (MASS * np.eye(3) + x.T @ x / n) @ moved)
            np.testing.assert_allclose(ladder.distance[row, twin], in_metric, rtol=1e-9)
            changes = np.abs((INPUTS @ (base + moved) - TARGETS[:, 0]) ** 2 - (INPUTS @ base - TARGETS[:, 0]) ** 2) / 2
            np.testing.assert_allclose(ladder.loss[row, twin], changes, rtol=1e-7, atol=1e-12)
            frozen.append(np.linalg.norm(moved))
    assert "Euler's method, steps of 0.25, until t = 5" in str(ladder)


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
def layerwise_run():
    return fm.simulate(LAYERWISE, NET, ts=np.linspace(0, 2.0, 5), args=(INPUTS[:12], TARGETS[:12]), rtol=1e-9)


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
    dataset = ladder.to_xarray()
    assert dataset["loss"].dims == ("size", "twin", "probe")
    assert dataset["distance"].dims == ("size", "twin")
    np.testing.assert_array_equal(dataset["size"], SIZES)
    np.testing.assert_array_equal(dataset["replacement"], ladder.replacements)
    assert dataset.attrs == {"kind": "replace-one", "t1": 1.5}
    assert "prediction" not in dataset
    text = str(ladder)
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
    traced = eqx.filter_jit(lambda y0: call(y0=y0))
    with pytest.raises(ValueError, match="runs outside of JAX transformations only"):
        traced(jnp.zeros(2))


def test_runs_that_fail_or_do_not_move_say_so():
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
    idle = fm.GradientFlow(lambda y, args: jnp.sum((y - 1) ** 2))
    with pytest.raises(ValueError, match="`flow` must take its data from `args`, and it ended in the same state"):
        call(idle, step_size=0.5)


def test_errors_of_the_solver_that_could_be_seen_are_refused():
    ends = Rung(
        loss=None, prediction=None, distance=None, parameters=np.array([1e-3, 2e-3]), length=np.array([5.0, 5.0])
    )
    _require_clear([ends], Method({"rtol": 1e-8, "atol": 1e-9}))
    _require_clear([ends], Method({}, step_size=0.1, steps=10))
    with pytest.raises(ValueError, match=r"`rtol` and `atol` must be small .* allow errors of 5.1e-06 .* is 2.0e-03"):
        _require_clear([ends], Method({"rtol": 1e-6, "atol": 1e-7}))


def test_constants_are_refused_where_they_mean_nothing(strict):
    flow, _ = strict
    run = fm.simulate(flow, jnp.zeros(2), ts=np.linspace(0, 1, 9), args=POOL[:20])
    field = fm.VectorField(lambda t, y, args: -y)
    with pytest.raises(ValueError, match="`flow` must be a gradient flow, got VectorField"):
        fm.stability_constants(field, run, POOL, loss=quadratic_loss)
    with pytest.raises(ValueError, match="`trajectory` must be a Trajectory of the flow, got ndarray"):
        fm.stability_constants(flow, POOL, POOL, loss=quadratic_loss)
    with pytest.raises(ValueError, match="the constant `kappa` is nan: leave out the times"):
        fm.stability_constants(flow, run, POOL[:20], loss=lambda y, z: jnp.log(-jnp.sum(z**2)) * jnp.sum(y))
