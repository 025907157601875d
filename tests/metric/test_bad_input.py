"""What can't be a layerwise flow is refused in one sentence; a solve that fails names its layer and the cure."""

import re
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.networks import classification, regression

METRICS = (fm.LayerwiseMetric, fm.FullMetric, fm.PerSampleMetric)


class Branching(eqx.Module):
    weight: jax.Array

    def __call__(self, z):
        return self.weight * z if z[0] > 0 else z


def mistakes():
    net, problem = classification()
    x, y = problem.inputs, problem.targets
    ones, loose = jnp.ones((3, 2)), fm.Supervised(net, fm.MeanSquaredError())
    masses = jax.tree.map(jnp.ones_like, net)
    one_zero = eqx.tree_at(lambda n: n.layers[2].bias, masses, jnp.asarray([1.0, 0.0, 1.0]))
    branching = fm.wrap(Branching(jnp.ones(2)))
    no_parameters = fm.Pointwise(jnp.tanh)
    for metric in METRICS:
        of, name = metric.of, metric.__name__
        yield f"{name}: zero", lambda of=of: of(problem, mass=0), "`mass` must be positive, got 0 in layer 'layers.0'"
        yield f"{name}: negative", lambda of=of: of(problem, mass=[0.1, -1]), "got -1 in layer 'layers.2'"
        yield f"{name}: tree", lambda of=of: of(problem, mass=one_zero), r"got 0 at \[1\] in layer 'layers.2'"
        yield f"{name}: nan", lambda of=of: of(problem, mass=float("nan")), "`mass` must be positive, got nan"
        yield f"{name}: no sample", lambda m=metric: m(net, x[:0]), r"`inputs` must have samples .* \(0, 5\)"
        yield f"{name}: empty args", lambda m=metric: m(net)(net, (x[:0], y[:0])), "`inputs` must have samples"
        yield (
            f"{name}: no parameters",
            lambda m=metric: m(no_parameters, x),
            "`module` must have parameters, float arrays, for a metric: Pointwise has none",
        )
        yield f"{name}: nan", lambda m=metric: m(net, x.at[3, 1].set(jnp.nan)), "`inputs` .* but sample 3 is not"
        pair = (loose, metric.of(loose), net)
        yield (
            f"{name}: outputs and loss",
            lambda pair=pair: fm.steepest_descent(*pair, (x, jnp.ones((9, 2)))),
            r"`targets` must have the shape of the module's outputs, \(9, 3\), got \(9, 2\)",
        )
        yield (
            f"{name}: lengths",
            lambda pair=pair: fm.steepest_descent(*pair, (x, jnp.ones((4, 3)))),
            "got 9 samples and 4 targets",
        )
    metric = fm.LayerwiseMetric.of(problem)
    yield "empty batch", lambda: fm.Supervised(net, problem.loss, x[:0], y[:0]), "`inputs` must have samples along"
    yield "empty batch in args", lambda: loose(net, (x[:0], y[:0])), "`inputs` must have samples along"
    yield "nan sample", lambda: fm.Supervised(net, problem.loss, x.at[7, 0].set(jnp.inf), y), "but sample 7 is not"
    yield "outputs", lambda: fm.Supervised(net, fm.MeanSquaredError(), x, jnp.ones((9, 2))), "`targets` must have the"
    yield "branches", lambda: fm.Supervised(branching, fm.MeanSquaredError(), ones, ones), "branches in Python"
    yield "branches in a metric", lambda: fm.LayerwiseMetric(branching, ones)(branching), "branches in Python"
    yield "swapped", lambda: fm.steepest_descent(metric, problem, net), "got the metric LayerwiseMetric: the potential"
    yield "no metric", lambda: fm.steepest_descent(problem, problem, net), "`metric` must be a metric, got Supervised"
    yield "model as potential", lambda: fm.steepest_descent(net, metric, net), r"`potential` must be a function of \(y"


@pytest.mark.parametrize(("call", "words"), [case[1:] for case in mistakes()], ids=[case[0] for case in mistakes()])
def test_a_mistake_has_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_what_is_right_is_not_refused():
    """Negative control: the same calls without their mistakes."""
    net, problem = classification()
    loose = fm.Supervised(net, fm.MeanSquaredError())
    batch = (problem.inputs, jnp.ones((9, 3)))
    for metric in METRICS:
        vector = fm.steepest_descent(loose, metric.of(loose, mass=0.1), net, batch)[2]
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(eqx.filter(vector, eqx.is_array)))


def failure(flow, net, **settings):
    with pytest.raises(ValueError, match="`y0` is no state that this flow can start from") as caught:
        fm.simulate(flow, net, 0.01, **settings)
    return str(caught.value)


@pytest.mark.parametrize("metric", [fm.LayerwiseMetric, fm.FullMetric])
@pytest.mark.parametrize("solver", ["rows", "parameters"])
def test_an_ill_conditioned_solve_names_its_condition_and_the_mass_that_cures_it(metric, solver):
    net, problem = regression(count=3, sizes=(12, 2))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), net)

    def flow(mass):
        # Apart, because what the potential's own sweep knows of the gradient would save the solve.
        return fm.GradientFlow(lambda y, args: problem(y, args), metric.of(problem, mass=mass, solver=solver))

    words = failure(flow(1e-8), single)
    found = re.search(r"a relative residual of (\S+) .*, of condition number (\S+): a mass of (\S+) would do", words)
    condition, cure = float(found[2]), float(found[3])
    K = np.sqrt(1 / 3) * np.c_[np.asarray(problem.inputs), np.ones(3)]
    assert condition == pytest.approx(1 + np.linalg.norm(K, 2) ** 2 / 1e-8, rel=0.05)
    assert cure == pytest.approx(np.linalg.norm(K, 2) ** 2 * np.finfo(np.float32).eps / 0.01, rel=0.15)
    assert ("for all layers together" in words) == (metric is fm.FullMetric)
    assert fm.simulate(flow(cure), single, 0.01).inner_residual.max() < 0.1


def test_too_few_steps_of_conjugate_gradients_name_the_mass_that_cures_them(monkeypatch):
    monkeypatch.setattr(sys.modules["flowmod.linalg.conjugate_gradients"], "MOST_STEPS", 6)
    net, problem = regression(count=23, sizes=(6, 5, 2))

    def flow(mass):
        solver = {"solver": "conjugate_gradients", "tolerance": 1e-6}
        return fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=mass, **solver))

    words = failure(flow(1e-4), net)
    assert re.search("in layer 'layers.[02]', of condition number", words)
    cure = float(re.search(r"a mass of (\S+) would do", words)[1])
    assert fm.simulate(flow(cure), net, 0.01).inner_residual.max() <= 1e-5


def test_the_sample_and_the_layer_that_are_not_finite_are_named():
    keys = jax.random.split(jax.random.key(0))
    root = fm.Linear(2, 2, key=keys[0]) >> fm.Pointwise(jnp.sqrt) >> fm.Linear(2, 2, key=keys[1])
    root = eqx.tree_at(lambda n: (n.layers[0].weight, n.layers[0].bias), root, (jnp.eye(2), jnp.zeros(2)))
    inputs = jnp.asarray([[1.0, 2.0], [3.0, 4.0], [3.0, -4.0], [-1.0, 1.0]])
    problem = fm.Supervised(root, fm.MeanSquaredError(), inputs, jnp.ones((4, 2)))
    for metric in (None, fm.LayerwiseMetric.of(problem)):
        words = failure(fm.GradientFlow(problem, metric), root)
        assert (
            "potential is nan (sample 2 is the first of 2 that are not finite, in the output of layer 'layers.1')"
            in words
        )
    fm.simulate(fm.GradientFlow(fm.Supervised(root, fm.MeanSquaredError(), inputs[:2], jnp.ones((2, 2)))), root, 0.01)


def test_a_loss_that_is_not_finite_shows_the_output():
    net = eqx.tree_at(lambda n: n.weight, fm.Linear(1, 2, key=jax.random.key(0)), jnp.asarray([[1e200], [-1e200]]))
    problem = fm.Supervised(net, fm.MeanSquaredError(), jnp.asarray([[0.0], [1.0]]), jnp.ones((2, 2)))
    assert re.search(
        r"sample 1 is the first of 1 .* in its loss: its output is \[ ?1.e\+200", failure(fm.GradientFlow(problem), net)
    )


def test_rows_of_less_than_full_rank_without_a_mass_are_no_metric():
    """A mass that became zero inside a transformation, where its value can't be looked at."""
    net, problem = regression(count=2)
    metric = fm.LayerwiseMetric.of(problem, mass=0.1)
    without = metric.damped(0.0)
    vector = jax.jit(lambda y: fm.steepest_descent(problem, without, y)[2])(net)
    assert np.isnan(vector.layers[0].weight).all()
    assert not fm.check_metric(without, net).ok
    assert fm.check_metric(metric, net).ok
