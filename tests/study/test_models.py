"""Every built-in model runs from its defaults, and those with a closed form follow it."""

import inspect

import jax
import numpy as np
import pytest

import flowmod as fm
from flowmod.study import MODELS, resolve

NAMES = sorted(MODELS)


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_complete(name):
    model, target = MODELS[name], resolve(name, {})
    assert model.name == name
    assert all(parameter.default is not inspect.Parameter.empty for parameter in _parameters(model))
    lower, upper = target.box_from(())
    inside = jax.tree.map(lambda low, at, high: low <= at <= high, lower, model.start, upper)
    assert all(jax.tree.leaves(inside))


def _parameters(model):
    return inspect.signature(model.make).parameters.values()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_default_run_balances_its_energy(name):
    target = resolve(name, {})
    run = fm.simulate(target.flow, target.start_from(()), target.end_time(None), rtol=1e-9)
    assert run.end_time == MODELS[name].t1
    assert np.abs(run.ledger).max() < 1e-6
    assert run.energy[0] - run.energy[-1] > 0.2


def test_the_toggle_switch_is_that_of_the_paper():
    found, published = resolve("toggle_switch", {}).flow, fm.bio.toggle_switch(156.25, 15.6, n=2.5, m=1.0)
    state = {"u": np.array(1.3), "v": np.array(6.7)}
    same = jax.tree.map(np.array_equal, found.vector_field(0.0, state), published.vector_field(0.0, state))
    assert all(same.values())


def test_rosenbrock_in_the_metric_of_its_residual_relaxes_exponentially():
    target = resolve("rosenbrock", {"steepness": 4.0})
    run = fm.simulate(target.flow, target.start_from(()), 2.0, rtol=1e-9)
    x, y = run.ys["x"], run.ys["y"]
    np.testing.assert_allclose(1 - x, 2.2 * np.exp(-run.ts), rtol=1e-7)
    np.testing.assert_allclose(y - x**2, (1 - 1.44) * np.exp(-run.ts), rtol=1e-7)
    np.testing.assert_allclose(fm.contraction_rate(target.flow, run), 1.0, rtol=1e-9)
    # The Euclidean metric would not have told.
    assert fm.contraction_rate(target.flow, run, metric=fm.Euclidean()).min() < 0


@pytest.mark.slow
def test_the_double_pendulum_rests_upright_and_hanging():
    target = resolve("double_pendulum", {"gravity": 3.0})
    found = target.equilibria(target.box_from(()))
    heights = [point.potential for point in found]
    np.testing.assert_allclose(heights, 3.0 * np.array([0, 2, 2, 4, 4, 4, 4, 6, 6]), atol=1e-9)
    assert [point.stability for point in found] == ["stable focus"] + ["saddle"] * 8
    assert all(set(point.state) == {"q1", "q2"} for point in found)
