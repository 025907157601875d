"""Bounds on stability from constants: never below what closed forms do, tight where they can be, honest where not."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import flowmod as fm

KINDS = pytest.mark.parametrize("kind", ["replace-one", "leave-one-out"])


class LinearLosses:
    """`f = w^T H w / 2 + mean of a_i w`, metric `D + mean of K_i^T K_i`: linear flows, and losses that are Lipschitz.

    Everything is closed: `w' = -M^-1 (H w + mean a)`. With `leave-one-out` the others keep the weight `1/n`.
    """

    def __init__(self, rng, kind, *, metric_from_data, expanding=False):
        self.n, p = int(rng.integers(2, 9)), int(rng.integers(1, 4))
        root = rng.normal(size=(p, p))
        self.hessian = root @ root.T + 0.1 * np.eye(p)
        if expanding:
            self.hessian -= 2 * np.eye(p)
        self.base = np.diag(rng.uniform(0.5, 2.0, p))
        self.slopes = rng.normal(size=(self.n + 1, p)) * 10.0 ** rng.uniform(-2, 0)
        scale = metric_from_data * 10.0 ** rng.uniform(-1, 0.5)
        self.rows = scale * rng.normal(size=(self.n + 1, p))  # K_i, one row each
        self.start, self.t = rng.normal(size=p), 10.0 ** rng.uniform(-1, 1)
        self.weights = np.full((2, self.n + 1), 1 / self.n)
        self.weights[:, self.n] = 0, 1 / self.n  # the fresh sample
        self.weights[1, 0] = 0
        if kind == "leave-one-out":
            self.weights[1, self.n] = 0

    def parts(self, weights):
        return self.base + (self.rows * weights[:, None]).T @ self.rows, weights @ self.slopes

    def run(self, weights, times):
        metric, slope = self.parts(weights)
        values, modes = scipy.linalg.eigh(self.hessian, metric)
        rest = -np.linalg.solve(self.hessian, slope)
        return rest + np.exp(-np.outer(times, values)) * (modes.T @ metric @ (self.start - rest)) @ modes.T

    def steps(self, weights, step, count):
        metric, slope = self.parts(weights)
        states = [self.start]
        for _ in range(count):
            states.append(states[-1] - step * np.linalg.solve(metric, self.hessian @ states[-1] + slope))
        return np.stack(states)

    def speed(self, path, weights):
        """The largest on the path, by its own saved points: dense enough to miss nothing that matters."""
        metric, slope = self.parts(weights)
        return np.linalg.norm(np.linalg.solve(metric, (path @ self.hessian + slope).T), axis=0).max()

    def constants(self, paths):
        metrics = [self.parts(weights)[0] for weights in self.weights]
        speed = max(self.speed(path, weights) for path, weights in zip(paths, self.weights, strict=True))
        return {
            "kappa": np.linalg.norm(self.slopes, axis=1).max(),
            "rate": min(scipy.linalg.eigh(self.hessian, metric, eigvals_only=True)[0] for metric in metrics),
            "mu": min(np.linalg.eigvalsh(metric)[0] for metric in metrics),
            "metric_term": np.max(np.sum(self.rows**2, axis=1)) * speed,
        }

    def measured(self, ends):
        difference = ends[1] - ends[0]
        distance = np.sqrt(difference @ self.parts(self.weights[0])[0] @ difference)
        return distance, np.abs(self.slopes @ difference).max()


@KINDS
@pytest.mark.parametrize("expanding", [False, True])
def test_no_flow_leaves_its_bound(kind, expanding):
    rng = np.random.default_rng(12)
    close = []
    for case in range(300):
        problem = LinearLosses(rng, kind, metric_from_data=case % 2, expanding=expanding)
        paths = [problem.run(weights, np.linspace(0, problem.t, 60)) for weights in problem.weights]
        constants = problem.constants(paths)
        bound = fm.stability_bound(**constants, n=problem.n, t=problem.t, kind=kind)
        distance, change = problem.measured([path[-1] for path in paths])
        assert distance <= bound.distance * (1 + 1e-9)
        assert change <= bound.beta * (1 + 1e-9)
        assert bound.beta == pytest.approx(bound.gradient_term + bound.metric_term)
        close.append(distance / bound.distance)
    # A bound that dominates by orders of magnitude only would not show a wrong factor of two.
    assert max(close) > 0.9


@KINDS
def test_a_metric_made_from_the_data_needs_its_term(kind):
    """The negative control: gradients that hardly depend on the sample, and a metric that does."""
    rng, broken = np.random.default_rng(29), 0
    for _ in range(50):
        problem = LinearLosses(rng, kind, metric_from_data=1)
        problem.slopes *= 1e-3
        paths = [problem.run(weights, np.linspace(0, problem.t, 60)) for weights in problem.weights]
        constants = problem.constants(paths)
        distance, change = problem.measured([path[-1] for path in paths])
        full = fm.stability_bound(**constants, n=problem.n, t=problem.t, kind=kind)
        without = fm.stability_bound(**constants | {"metric_term": 0.0}, n=problem.n, t=problem.t, kind=kind)
        assert distance <= full.distance
        assert change <= full.beta
        broken += distance > without.distance and change > without.beta
    assert broken > 25


@KINDS
def test_no_discrete_optimizer_leaves_its_bound(kind):
    rng, close = np.random.default_rng(7), []
    for case in range(200):
        problem = LinearLosses(rng, kind, metric_from_data=case % 2)
        steps = int(rng.integers(1, 60))
        metrics = [problem.parts(weights)[0] for weights in problem.weights]
        spectra = [scipy.linalg.eigh(problem.hessian, metric, eigvals_only=True) for metric in metrics]
        step = rng.uniform(0.1, 1.9) / max(spectrum[-1] for spectrum in spectra)
        rho = max(np.abs(1 - step * spectrum).max() for spectrum in spectra)
        paths = [problem.steps(weights, step, steps) for weights in problem.weights]
        constants = problem.constants(paths) | {"rate": (1 - rho) / step}
        bound = fm.stability_bound(**constants, n=problem.n, t=steps * step, step_size=step, kind=kind)
        distance, change = problem.measured([path[-1] for path in paths])
        assert distance <= bound.distance * (1 + 1e-9)
        assert change <= bound.beta * (1 + 1e-9)
        naive = step * sum(rho**k for k in range(steps))
        assert bound.time_factor == pytest.approx(naive, rel=1e-9)
        close.append(distance / bound.distance)
    assert max(close) > 0.9


@pytest.mark.parametrize("rate", [0.7, 0.0, -0.4])
@pytest.mark.parametrize("step_size", [None, 0.25])
def test_in_one_dimension_the_distance_is_reached(rate, step_size):
    """`f = rate w^2 / 2 + mean of a_i w` with `a = +- kappa`: replaced by its opposite, a sample does its worst."""
    kappa, n, t = 3.0, 5, 2.0
    push = 2 * kappa / n
    if step_size is None:
        apart = push * (t if rate == 0 else (1 - np.exp(-rate * t)) / rate)
    else:
        apart = 0.0
        for _ in range(8):
            apart += step_size * (push - rate * apart)
    bound = fm.stability_bound(kappa, rate, 1.0, n, t, step_size=step_size)
    assert float(bound.distance) == pytest.approx(apart, rel=1e-12)
    assert float(bound.beta) == pytest.approx(kappa * apart, rel=1e-12)
    half = fm.stability_bound(kappa, rate, 1.0, n, t, step_size=step_size, kind="leave-one-out")
    assert float(half.beta) == pytest.approx(kappa * apart / 2, rel=1e-12)


def test_small_steps_come_to_the_flow():
    factors = [fm.stability_bound(1.0, 0.7, 1.0, 9, 2.0, step_size=step).time_factor for step in (1e-2, 1e-3)]
    flow = fm.stability_bound(1.0, 0.7, 1.0, 9, 2.0).time_factor
    ratio = (factors[0] - flow) / (factors[1] - flow)
    assert ratio == pytest.approx(10, rel=0.02)
    tiny = fm.stability_bound(1.0, 1e-12, 1.0, 9, 2.0)
    assert tiny.time_factor == pytest.approx(2.0, rel=1e-9)


def test_without_contraction_there_is_no_bound_for_all_time():
    for rate in (0.0, -0.5):
        for step_size in (None, 0.1):
            bound = fm.stability_bound(1.0, rate, 1.0, 10, step_size=step_size)
            assert np.isinf(bound.beta)
            assert np.isinf(bound.gap(0.1, 1.0))
    assert np.isinf(fm.stability_bound(1.0, -1.0, 1.0, 10, t=1e6).beta)
    nothing = fm.stability_bound(0.0, -1.0, 1.0, 10)
    assert nothing.beta == 0


def test_a_rate_in_another_metric_pays_its_condition_number():
    rng = np.random.default_rng(3)
    for _ in range(200):
        problem = LinearLosses(rng, "replace-one", metric_from_data=0)
        metric, _ = problem.parts(problem.weights[0])
        root = rng.normal(size=metric.shape)
        other = root @ root.T + 0.3 * np.eye(len(metric))
        jacobian = -np.linalg.solve(metric, problem.hessian)
        symmetric = (other @ jacobian + jacobian.T @ other) / 2
        rate = -scipy.linalg.eigh(symmetric, other, eigvals_only=True)[-1]
        ends = [problem.run(weights, [problem.t])[-1] for weights in problem.weights]
        difference = ends[1] - ends[0]
        constants = problem.constants([[problem.start]] * 2) | {"rate": rate, "metric_term": 0.0}
        bounds = tuple(np.linalg.eigvalsh(other)[[0, -1]])
        bound = fm.stability_bound(**constants, n=problem.n, t=problem.t, metric_bounds=bounds)
        assert np.sqrt(difference @ other @ difference) <= bound.distance * (1 + 1e-9)
        assert np.abs(problem.slopes @ difference).max() <= bound.beta * (1 + 1e-9)
        own = fm.stability_bound(**constants, n=problem.n, t=problem.t)
        assert bound.beta == pytest.approx(own.beta * np.sqrt(bounds[1] / bounds[0]), rel=1e-12)


def test_the_formula_and_the_gap_that_follows():
    n = np.array([10, 1000])
    bound = fm.stability_bound(kappa=2.0, rate=0.5, mu=0.1, n=n, t=4.0)
    beta = 2 * 4.0 * (1 - np.exp(-2)) / 0.5 / (0.1 * n)
    np.testing.assert_allclose(bound.beta, beta, rtol=1e-12)
    np.testing.assert_array_equal(bound.expected_gap, bound.beta)
    root = np.sqrt(np.log(1 / 0.05) / (2 * n))
    np.testing.assert_allclose(bound.gap(0.05, 3.0), beta + (2 * n * beta + 3.0) * root, rtol=1e-12)
    removed = fm.stability_bound(kappa=2.0, rate=0.5, mu=0.1, n=n, t=4.0, kind="leave-one-out")
    np.testing.assert_allclose(removed.beta, beta / 2, rtol=1e-12)
    # Replacing is removing twice: both kinds promise the same of new samples.
    np.testing.assert_allclose(removed.expected_gap, beta, rtol=1e-12)
    np.testing.assert_allclose(removed.gap(0.05, 3.0), beta + (4 * n * removed.beta + 3.0) * root, rtol=1e-12)


def test_it_says_what_it_assumes():
    text = str(fm.stability_bound(2.0, 0.5, 0.1, [10, 100], metric_term=3.0))
    assert text.startswith("Stability bound, replace-one: a loss changes by at most")
    assert "for n = 10 (16 by the gradient, 24 by the metric)" in text
    assert "contracts in its own metric at a rate of at least 0.5, for every such data set" in text
    assert "the metric is made from the data" in text
    assert "estimate" not in text
    measured = str(fm.stability_bound(2.0, 0.5, 0.1, 10, step_size=0.1, metric_bounds=(1.0, 2.0), measured=True))
    assert measured.startswith("Estimate of the stability bound")
    assert "each step of 0.1 contracts in a metric between 1.0 I and 2.0 I" in measured
    assert measured.endswith("an estimate, no proof")
    assert "the metric it contracts in is the same at all states and times" in measured
    assert "same at all states and times" not in text


def test_steps_in_a_metric_that_changes_on_the_way_may_leave_the_bound():
    """Why it must be constant: steps go from 0 to 1 and back, and at 1 all lengths are a hundred times as large."""
    kappa, n, rho, lengths = 1.0, 1000, 0.9, 100.0

    def step(x, slope):
        if x < 0.5:
            return 1 + rho / lengths * x - slope  # shrinks by rho, of which the lengths take the hundredfold back
        return rho * lengths * (x - 1) - slope / lengths**2

    assert (step(1e-3, 0) - step(0, 0)) * lengths == pytest.approx(rho * 1e-3)
    assert (step(1 + 1e-3, 0) - step(1, 0)) == pytest.approx(rho * 1e-3 * lengths)
    bound = fm.stability_bound(kappa, 1 - rho, 1.0, n, t=1.0, step_size=1.0)
    assert abs(step(0.0, kappa / n) - step(0.0, -kappa / n)) * lengths > 50 * bound.distance
    for t in (1.0, 2.0):
        of_steps, of_time = (fm.stability_bound(1, 0.1, 1, n, t, step_size=step).assumptions for step in (1.0, None))
        assert len(of_steps) == len(of_time) + 1


def test_an_order_of_magnitude_is_no_bound():
    order = fm.abstract_order(2.0, 3.0, 0.5, 0.1, 100)
    assert order.value == pytest.approx(4 * 3 / (0.05 * 10))
    assert "unknown constant: an order of magnitude, not a bound" in str(order)
    assert not isinstance(order, fm.StabilityBound)
    for attribute in ("beta", "gap", "expected_gap", "__float__", "__lt__", "__mul__", "__array__"):
        assert not hasattr(order, attribute) or getattr(type(order), attribute) is getattr(object, attribute, None)
    with pytest.raises(ValueError, match="`kappa` must be a finite number from 0, got OrderOfMagnitude"):
        fm.stability_bound(order, 1.0, 1.0, 10)
    with pytest.raises(ValueError, match="`mu` must be a finite number above 0, got -1"):
        fm.abstract_order(1.0, 1.0, 1.0, -1.0, 10)
    with pytest.raises(ValueError, match="`n` must be whole numbers of samples from 2"):
        fm.abstract_order(1.0, 1.0, 1.0, 1.0, 1)


GOOD = {"kappa": 1.0, "rate": 1.0, "mu": 1.0, "n": 10}


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"kappa": -1.0}, "`kappa` must be a finite number from 0, got -1.0"),
        ({"kappa": np.nan}, "`kappa` must be a finite number from 0, got nan"),
        ({"rate": np.nan}, "`rate` must be a finite number of any sign, got nan"),
        ({"rate": jnp.inf}, "`rate` must be a finite number of any sign, got inf"),
        ({"mu": 0.0}, "`mu` must be a finite number above 0, got 0.0"),
        ({"n": 1}, "`n` must be whole numbers of samples from 2, got 1: .* no stability"),
        ({"n": [10, 1]}, "`n` must be whole numbers of samples from 2"),
        ({"n": 10.0}, "`n` must be whole numbers of samples from 2"),
        ({"n": []}, "`n` must be whole numbers of samples from 2"),
        ({"t": 0.0}, "`t` must be a finite number above 0, got 0.0"),
        ({"t": None}, "`t` must be a finite number above 0, got None"),
        ({"t": np.nan}, "`t` must be a finite number above 0, got nan"),
        ({"step_size": 0.0}, "`step_size` must be a finite number above 0"),
        ({"step_size": 0.1, "t": 0.15}, "`t` must be a whole number of steps of 0.1, got 0.15, 1.500 of them"),
        ({"step_size": 0.1, "t": 0.04, "rate": 0.0}, "`t` must be a whole number of steps of 0.1"),
        ({"step_size": 1.5}, "`rate` must be at most 1 / step_size = 0.667 in steps, got 1: .*rho"),
        ({"metric_term": -1.0}, "`metric_term` must be a finite number from 0, got -1.0"),
        ({"metric_bounds": 3.0}, r"`metric_bounds` must be \(a, b\) with a I <= P <= b I, got 3.0"),
        ({"metric_bounds": (2.0, 1.0)}, r"`metric_bounds\[1\]` must be a finite number from 2, got 1.0"),
        ({"metric_bounds": (0.0, 1.0)}, r"`metric_bounds\[0\]` must be a finite number above 0"),
        ({"kind": "remove"}, "`kind` must be 'replace-one' or 'leave-one-out', got 'remove'"),
    ],
)
def test_wrong_constants_are_named(wrong, complaint):
    with pytest.raises(ValueError, match=complaint):
        fm.stability_bound(**GOOD | wrong)


def test_wrong_probabilities_are_named():
    bound = fm.stability_bound(**GOOD)
    for delta in (0.0, 1.0, np.nan, "half"):
        with pytest.raises(ValueError, match="`delta` must be"):
            bound.gap(delta, 1.0)
    with pytest.raises(ValueError, match="`largest_loss` must be a finite number above 0"):
        bound.gap(0.1, -1.0)
