"""A run that fails says why, where, and what to try; wrong input is refused before anything is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import flowmod as fm

ON_THE_WAY = {
    "nan potential": (
        fm.GradientFlow(lambda y, args: jnp.log(y[0])),
        fm.RESULTS.nonfinite_potential,
        r"potential is nan just after t = 0\.5",
    ),
    "indefinite metric": (
        fm.GradientFlow(lambda y, args: y[0], fm.DenseMetric(lambda y, args: jnp.eye(2) * y[0])),
        fm.RESULTS.indefinite_metric,
        r"not positive definite \(smallest eigenvalue -.*just after t = 0\.5",
    ),
    "indefinite diagonal": (
        fm.GradientFlow(lambda y, args: y[0], fm.DiagonalMetric(lambda y, args: y)),
        fm.RESULTS.indefinite_metric,
        "not positive definite",
    ),
    "asymmetric metric": (
        fm.GradientFlow(
            lambda y, args: y[0],
            fm.DenseMetric(
                lambda y, args: jnp.stack(
                    [jnp.stack([1.0 + 0 * y[0], jnp.where(y[0] < 0.7, 0.5, 0.0)]), jnp.asarray([0.0, 1.0])]
                )
            ),
        ),
        fm.RESULTS.asymmetric_metric,
        "not symmetric",
    ),
    "nan metric": (
        fm.GradientFlow(lambda y, args: y[0], fm.DenseMetric(lambda y, args: jnp.eye(2) * jnp.sqrt(y[0] - 0.5))),
        fm.RESULTS.nonfinite_metric,
        "metric has an entry that is not finite",
    ),
    "nan field": (
        fm.VectorField(lambda t, y, args: jnp.stack([-1 / jnp.sqrt(y[0]), 0 * y[1]])),
        fm.RESULTS.nonfinite_field,
        "vector field is not finite in y",
    ),
    "blow-up": (fm.VectorField(lambda t, y, args: y**2), fm.RESULTS.dt_min_reached, "flow is finite there"),
    "stiffness": (
        fm.VectorField(lambda t, y, args: -1e6 * (y - jnp.cos(t))),
        fm.RESULTS.stiff,
        r"fastest rate .* is 1e\+06 per unit of time",
    ),
}


@pytest.mark.parametrize("name", list(ON_THE_WAY))
def test_the_cause_is_named_with_its_time_and_state(name):
    flow, result, words = ON_THE_WAY[name]
    with pytest.raises(fm.SimulationError, match=words) as caught:
        fm.simulate(flow, jnp.asarray([1.0, 2.0]), 50.0)
    run = caught.value.trajectory
    assert run.result is result
    assert "y = [" in str(caught.value)
    assert "Try: " in str(caught.value)
    assert run.reason in str(run)
    assert 0 < run.end_time < 50
    assert run.ts[-1] == run.end_time
    assert np.isfinite(run.ys).all()


def test_without_throw_the_run_is_returned():
    flow, result, _ = ON_THE_WAY["nan potential"]
    run = fm.simulate(flow, jnp.asarray([1.0, 2.0]), 50.0, throw=False)
    assert run.result is result
    np.testing.assert_allclose(run.end_time, 0.5, atol=1e-6)


def test_a_nan_field_ends_soon():
    """The smallest step ends it in tens of steps, not in thousands with the wrong reason."""
    flow, _, _ = ON_THE_WAY["nan field"]
    run = fm.simulate(flow, jnp.asarray([1.0, 2.0]), 50.0, throw=False)
    assert sum(run.stats.values()) < 150
    always = fm.VectorField(lambda t, y, args: y * jnp.where(t > 1.0, jnp.nan, -1.0))
    run = fm.simulate(always, jnp.ones(2), 2.0, throw=False)
    assert sum(run.stats.values()) < 120
    assert run.result is fm.RESULTS.nonfinite_field


def test_max_steps_is_honest():
    decay = fm.VectorField(lambda t, y, args: -y)
    with pytest.raises(fm.SimulationError, match=r"took `max_steps` steps.*It got to t = .* of 50") as caught:
        fm.simulate(decay, jnp.ones(2), 50.0, max_steps=5)
    run = caught.value.trajectory
    assert run.result is fm.RESULTS.max_steps_reached
    assert sum(run.stats.values()) == 5
    whole = fm.simulate(decay, jnp.ones(2), 50.0)
    np.testing.assert_array_equal(run.ys, whole.ys[: len(run)])


def test_the_part_of_the_tree_that_is_not_finite_is_named():
    flow = fm.VectorField(lambda t, y, args: {"good": -y["good"], "bad": -1 / jnp.sqrt(y["bad"])})
    with pytest.raises(fm.SimulationError, match="not finite in bad"):
        fm.simulate(flow, {"good": 1.0, "bad": 1.0}, 5.0)


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (fm.DenseMetric(lambda y, args: jnp.asarray([[1.0, 0.5], [0.0, 1.0]])), "not symmetric"),
        (fm.DenseMetric(lambda y, args: jnp.asarray([[1.0, 2.0], [2.0, 1.0]])), "not positive definite"),
        (fm.DenseMetric(lambda y, args: jnp.ones((2, 3))), "matrix of shape"),
        (fm.DiagonalMetric(lambda y, args: -jnp.ones(2)), "not positive definite"),
    ],
)
def test_a_bad_metric_at_the_start_is_wrong_input(metric, words):
    with pytest.raises(ValueError, match=words):
        fm.simulate(fm.GradientFlow(lambda y, args: jnp.sum(y**2), metric), jnp.ones(2), 1.0)


def test_a_potential_that_is_nan_at_the_start_is_wrong_input():
    with pytest.raises(ValueError, match=r"`y0` is no state that this flow can start from\. The potential is nan"):
        fm.simulate(fm.GradientFlow(lambda y, args: jnp.sum(jnp.log(y))), -jnp.ones(2), 1.0)


DECAY = fm.VectorField(lambda t, y, args: jax.tree.map(jnp.negative, y))
WRONG = {
    "no flow": (lambda: fm.simulate(lambda t, y, args: y, 1.0, 1.0), "`flow` must be a flow, got function"),
    "integers": (lambda: fm.simulate(DECAY, jnp.ones(2, int), 1.0), "float arrays, got int"),
    "Python integer": (lambda: fm.simulate(DECAY, {"a": 1}, 1.0), "got int at 'a': write 1.0 for 1"),
    "complex": (lambda: fm.simulate(DECAY, jnp.ones(2, complex), 1.0), "float arrays, got complex"),
    "half": (lambda: fm.simulate(DECAY, jnp.ones(2, jnp.float16), 1.0), "float32 or float64, got float16"),
    "bfloat16": (lambda: fm.simulate(DECAY, jnp.ones(2, jnp.bfloat16), 1.0), "float32 or float64, got bfloat16"),
    "nothing": (lambda: fm.simulate(DECAY, {}, 1.0), "at least one float array"),
    "nan": (lambda: fm.simulate(DECAY, {"a": jnp.nan}, 1.0), "`y0` must be finite, got nan at 'a'"),
    "infinite": (lambda: fm.simulate(DECAY, jnp.asarray([1.0, jnp.inf]), 1.0), "`y0` must be finite"),
    "no end": (lambda: fm.simulate(DECAY, 1.0), "`t1` must be given"),
    "backwards": (lambda: fm.simulate(DECAY, 1.0, -1.0), "`t1` must be a finite time after `t0`"),
    "no time": (lambda: fm.simulate(DECAY, 1.0, 0.0), "t0 = 0.0 and t1 = 0.0"),
    "nan time": (lambda: fm.simulate(DECAY, 1.0, float("nan")), "`t1` must be a finite time"),
    "unsorted": (lambda: fm.simulate(DECAY, 1.0, ts=[0.0, 2.0, 1.0]), "ascending order"),
    "outside": (lambda: fm.simulate(DECAY, 1.0, 1.0, ts=[0.0, 2.0]), "`ts` must lie between t0 = 0.0 and t1 = 1.0"),
    "two-dimensional": (lambda: fm.simulate(DECAY, 1.0, ts=np.ones((2, 2))), "one-dimensional"),
    "no times": (lambda: fm.simulate(DECAY, 1.0, ts=[]), "one-dimensional array of times"),
    "tolerance": (lambda: fm.simulate(DECAY, 1.0, 1.0, rtol=1e-17), "`rtol` must be at least 1.8e-15"),
    "float32 tolerance": (
        lambda: fm.simulate(DECAY, jnp.ones(1, jnp.float32), 1.0, rtol=1e-9),
        "`rtol` must be at least 9.5e-07 for a float32 state, got 1e-09.*Use float64",
    ),
    "negative": (lambda: fm.simulate(DECAY, 1.0, 1.0, atol=-1.0), "`atol` must not be negative"),
    "steps": (lambda: fm.simulate(DECAY, 1.0, 1.0, max_steps=0), "`max_steps` must be a positive integer"),
    "solver": (lambda: fm.simulate(DECAY, 1.0, 1.0, solver="rk4"), '`solver` must be None, "stiff" or a diffrax'),
    "mismatched": (
        lambda: fm.simulate(fm.VectorField(lambda t, y, args: {"b": y["a"]}), {"a": 1.0}, 1.0),
        "`fn` must return a tree like the state",
    ),
    "not a scalar": (lambda: fm.simulate(fm.GradientFlow(lambda y, args: y), jnp.ones(2), 1.0), "must return a scalar"),
    "no axis": (lambda: fm.ensemble(DECAY, 1.0, 1.0), "leading axis"),
    "two lengths": (
        lambda: fm.ensemble(DECAY, {"a": jnp.ones(2), "b": jnp.ones(3)}, 1.0),
        "leading axis of one length",
    ),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_wrong_input_is_refused_with_its_cure(name):
    call, words = WRONG[name]
    with pytest.raises(ValueError, match=words):
        call()


def run_or_refusal(*args, **keywords):
    """The run, or the words of the only two errors that may come."""
    try:
        return fm.simulate(DECAY, *args, **keywords), ""
    except (ValueError, fm.SimulationError) as error:
        return None, str(error)


numbers = st.one_of(st.floats(), st.integers(-3, 3), st.none(), st.just("x"))


@settings(max_examples=150, deadline=None)
@example(t0=0.0, t1=1247403269677130.0, ts=None, rtol=1, atol=None)
@given(t0=numbers, t1=numbers, ts=st.one_of(st.none(), st.lists(numbers, max_size=3)), rtol=numbers, atol=numbers)
def test_fuzzed_times_and_tolerances_run_or_are_refused(t0, t1, ts, rtol, atol):
    """Whatever comes in: a whole trajectory, or a `ValueError` or failed run that says what to do."""
    run, refusal = run_or_refusal({"a": 0.5}, t1, t0=t0, ts=ts, rtol=rtol, atol=atol, max_steps=200)
    if run is None:
        assert "`" in refusal or "Try: " in refusal
    else:
        assert np.isfinite(run.ys["a"]).all()
        assert (np.diff(run.ts) >= 0).all()


leaves = st.one_of(
    st.floats(-2, 2), st.integers(-2, 2), st.none(), st.booleans(), st.text(max_size=2), st.just(float("nan"))
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(y0=trees)
def test_fuzzed_states_run_or_are_refused(y0):
    run, refusal = run_or_refusal(y0, 0.1, rtol=1e-3)
    if run is None:
        assert "`y0`" in refusal
    else:
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.ys))
