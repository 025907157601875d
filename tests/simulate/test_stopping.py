"""`AtEquilibrium`: where the flow stands still, and whether it stays there."""

import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.zoo import generic_mass, toggle

SADDLE = fm.GradientFlow(lambda y, args: -(y[0] ** 2) / 2 + y[0] ** 4 / 4 + 2 * y[1] ** 2, fm.DenseMetric(generic_mass))
NEAR = jnp.asarray([1e-9, 1.0])
"""A start from which the flow passes the saddle at the origin, slow for a time `log(1e-3 / 1e-9) = 13.8` at most."""


def test_a_slow_passage_does_not_stop_a_run_that_waits():
    """It is slow near the saddle for 10 units of time, and stops at the minimum (1, 0) after a window of 15 there."""
    first = fm.simulate(SADDLE, NEAR, 200.0, until=fm.AtEquilibrium(SADDLE, 1e-3))
    np.testing.assert_allclose(first.ys[-1], 0, atol=1e-3)  # without a window it stops at the saddle
    waited = fm.simulate(SADDLE, NEAR, 200.0, until=fm.AtEquilibrium(SADDLE, 1e-3, window=15.0))
    assert waited.result is fm.RESULTS.event_occurred
    np.testing.assert_allclose(waited.ys[-1], [1, 0], atol=1e-3)
    # The steps are those of a run that does not wait, and the end is what the gradients say.
    np.testing.assert_array_equal(waited.ts[: len(first)], first.ts)
    assert waited.gradient_norm[len(first) - 1] <= 1e-3 < waited.gradient_norm[len(first) - 2]
    since, stops = np.inf, []
    for end, norm in zip(waited.ts[1:], waited.gradient_norm[1:], strict=True):
        since = min(since, end) if norm <= 1e-3 else np.inf
        stops += [end] if end - since >= 15 else []
    assert stops == [waited.end_time]
    passage = waited.ts[(waited.gradient_norm <= 1e-3) & (waited.ts < since)]
    assert 8 < passage[-1] - passage[0] < 13.8
    # A window shorter than the passage is no protection.
    short = fm.simulate(SADDLE, NEAR, 200.0, until=fm.AtEquilibrium(SADDLE, 1e-3, window=5.0))
    np.testing.assert_allclose(short.ys[-1], 0, atol=1e-3)


def test_members_of_an_ensemble_wait_each_for_itself():
    """With steps by the metric, and each gene by itself: the larger of two lengths, not the root of their squares."""
    flow = toggle()
    starts = {"u": jnp.asarray([1.0, 30.0]), "v": jnp.asarray([8.0, 1.0])}
    settings = {
        "until": fm.AtEquilibrium(flow, 1e-5, window=2.0, by="module"),
        "controller": fm.MetricController(flow, 1e-6, 1e-9),
        "observe": fm.AtEquilibrium(flow, 1e-5),
    }
    members = fm.ensemble(flow, starts, ts=np.linspace(0, 1e3, 3), **settings)
    alone = fm.simulate(flow, {"u": 1.0, "v": 8.0}, 1e3, **settings)
    np.testing.assert_array_equal(members.result, fm.RESULTS.event_occurred)
    np.testing.assert_array_equal(members.steps[0], list(alone.stats.values()))
    np.testing.assert_allclose(members.end_times[0], alone.end_time, rtol=1e-6)
    assert members.end_times[0] != members.end_times[1]
    np.testing.assert_allclose([alone.ys["u"][-1], alone.ys["v"][-1]], [0.3324186, 11.7080324], atol=1e-3)
    np.testing.assert_array_equal(alone.observed, alone.gradient_norm <= 1e-5)


def test_a_pendulum_does_not_stand_still_where_it_turns():
    flow = fm.InertialFlow(lambda q, args: jnp.sum(jnp.cosh(q)), damping=0.3)
    run = fm.simulate(flow, (jnp.ones(1), jnp.zeros(1)), 100.0, until=fm.AtEquilibrium(flow, 1e-3))
    assert run.ys[1][0] == 0  # at the start, as wherever it turns, it has no velocity
    np.testing.assert_allclose([run.ys[0][-1], run.ys[1][-1]], 0, atol=2e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": 0.0}, "`tolerance` must be positive, got 0.0"),
        ({"tolerance": "small"}, "`tolerance` must be a number"),
        ({"window": -1.0}, "`window` must be positive, got -1.0"),
        ({"window": np.nan}, "`window` must be positive, got nan"),
        ({"by": "layer"}, "`by` must be one of state, module, leaf"),
    ],
)
def test_bad_input(settings, message):
    with pytest.raises(ValueError, match=message):
        fm.AtEquilibrium(SADDLE, **settings)
