"""Twins: distances against the matrix exponential, envelopes that hold, and intervals named where they do not."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import flowmod as fm
from tests.contraction.test_rate import METRIC, SYSTEM

SHEAR = np.asarray([[-1.0, 4.0], [0.0, -1.5]])
FLOW = fm.VectorField(lambda t, y, args: jnp.asarray(SHEAR, dtype=y.dtype) @ y + args * y**2)
Y0 = jnp.asarray([1.0, 2.0])
TIMES = np.linspace(0.0, 4.0, 81)
ROUND = np.asarray([[1.0, -8.0], [-8.0, 260.0]])
"""A metric in which the shear contracts."""


def sheared(matrix=None, blow=0.0, y0=Y0, **how):
    """Two twins of a linear flow in a constant metric: one program for all."""
    metric = fm.ConstantMetric(np.eye(2) if matrix is None else matrix)
    how = {"count": 2, "metric": metric} | how
    return fm.twins(FLOW, y0, ts=TIMES, args=blow, **how)


def test_distances_of_a_linear_flow_in_closed_form():
    found = sheared(key=jax.random.key(1), radius=0.01)
    starts = np.stack([np.asarray(run.ys[0]) for run in found.runs])
    for twin, distances in enumerate(found.distances):
        across = starts[twin + 1] - starts[0]
        exact = [np.linalg.norm(scipy.linalg.expm(t * SHEAR) @ across) for t in TIMES]
        np.testing.assert_allclose(distances, exact, rtol=1e-5)
    np.testing.assert_allclose(found.distances[:, 0], 0.01, rtol=1e-12)
    rate = -np.linalg.eigvalsh((SHEAR + SHEAR.T) / 2)[-1]
    np.testing.assert_allclose(found.rates, rate, rtol=1e-12)
    np.testing.assert_allclose(found.envelope, np.exp(-rate * TIMES), rtol=1e-12)
    assert rate < 0


def test_what_moves_away_is_named_with_its_interval():
    """In the Euclidean metric this flow does not contract: across the shear the distance falls, grows, and falls."""
    found = sheared(starts=Y0[None] + jnp.asarray([[0.0, 0.01], [0.01, 0.0]]))
    exact = np.asarray([np.linalg.norm(scipy.linalg.expm(t * SHEAR)[:, 1]) for t in TIMES])
    peak = exact.argmax()
    trough = exact[:peak].argmin()
    [violation] = found.violations  # along the shear nothing grows
    assert violation[:4] == (0, "grows", TIMES[trough], TIMES[peak])
    np.testing.assert_allclose(violation.factor, exact[peak] / exact[trough], rtol=1e-6)
    text = str(found)
    assert f"Twin 0 moves away from t = {TIMES[trough]:.6g} to {TIMES[peak]:.6g}, by a factor of 1.3" in text
    assert "the least rate there is -0.7656" in text
    assert "Every twin approaches" not in text


def test_in_a_metric_in_which_it_contracts_every_twin_approaches():
    found = sheared(ROUND, key=jax.random.key(2))
    assert found.rates.min() > 0.5
    assert found.violations == ()
    assert "Every twin approaches at all times" in str(found)
    assert (found.distances <= found.distances[:, :1] * found.envelope * (1 + 1e-5)).all()
    # Negative controls: rates that are too good, unknown ones, and runs that are too coarse to tell.
    wrong = dataclasses.replace(found, rates=found.rates + 1.0)
    assert {v.kind for v in wrong.violations} == {"above"}
    assert "is above the envelope from t = " in str(wrong)
    unknown = dataclasses.replace(found, rates=np.where(TIMES > 1, np.nan, found.rates))
    assert unknown.violations == ()
    assert "From t = 1.05 on there is no envelope" in str(unknown)
    assert "Every twin" not in str(unknown)
    noisy = dataclasses.replace(found, noise=found.distances[0] * 0.2)
    assert "a distance is as small as the errors of the runs" in str(noisy)
    axes = fm.plot.twins(found.times, found.distances, found.rates)
    assert axes.get_yscale() == "log"


def test_distances_and_rates_in_a_metric_of_state_and_time():
    """Oracle o03's system: the segment's length by a finer quadrature, and rates that are least between the twins."""
    starts = jnp.asarray([[-1.0, -0.6]])
    found = fm.twins(SYSTEM, jnp.asarray([1.0, -1.0]), 3.0, starts=starts, metric=METRIC, t0=0.5)
    base, twin = (np.asarray(run.ys) for run in found.runs)
    places, weights = np.polynomial.legendre.leggauss(20)

    @jax.jit
    def exact(t, x, across):
        lengths = [METRIC.at(t).norm(x + (p + 1) / 2 * across, across) for p in places]
        ends = jnp.stack([x, x + across / 2, x + across])
        rates = jax.lax.map(lambda x: fm.contraction_rate(SYSTEM, x, t, metric=METRIC), ends)
        return jnp.asarray(weights) @ jnp.stack(lengths) / 2, rates

    rows = [exact(*(jnp.asarray(a) for a in (found.times[k], base[k], twin[k] - base[k]))) for k in (0, 8, 40, 100)]
    lengths, rates = (np.stack(column) for column in zip(*rows, strict=True))
    np.testing.assert_allclose(found.distances[0, [0, 8, 40, 100]], lengths, rtol=1e-3)
    assert (found.rates[[0, 8, 40, 100]] <= rates.min(1) + 1e-12).all()
    assert found.rates[0] < rates[0, [0, 2]].min() - 0.1  # between the twins it is smaller than at either
    assert np.abs(found.distances[0] - np.linalg.norm(twin - base, axis=1)).max() > 0.05
    assert found.violations == ()


def test_single_precision_stays():
    found = sheared(ROUND, y0=Y0.astype(jnp.float32), key=jax.random.key(3), radius=0.1)
    assert found.runs.ys.dtype == np.float32
    assert found.violations == ()
    assert found.rates.min() > 0.5


def test_wrong_input_is_refused():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"Give `key=jax.random.key\(0\)`"):
        sheared()
    with pytest.raises(ValueError, match=r"Give `key` or `starts`, not both"):
        sheared(key=key, starts=Y0[None])
    with pytest.raises(ValueError, match=r"`radius` must be positive, got -1.0"):
        sheared(key=key, radius=-1.0)
    with pytest.raises(ValueError, match=r"`count` must be a whole number from 1, got 0"):
        sheared(key=key, count=0)
    with pytest.raises(ValueError, match=r"`ts` must be three times or more, got 2"):
        fm.twins(FLOW, Y0, ts=[0.0, 1.0], key=key)
    with pytest.raises(ValueError, match=r"`starts` must be a tree like `y0` with a leading axis"):
        sheared(starts=Y0)
    with pytest.raises(ValueError, match=r"`starts` must differ from `y0`"):
        sheared(starts=jnp.stack([Y0, Y0 + 1]))
    with pytest.raises(ValueError, match=r"`metric` must be a metric"):
        sheared(key=key, metric=np.eye(2))
    none = eqx.tree_at(lambda metric: metric.matrix, fm.ConstantMetric(np.eye(2)), -jnp.eye(2))
    with pytest.raises(ValueError, match=r"gives the segment to twin 0 no length at t = 0"):
        sheared(starts=jnp.stack([Y0 + 1, Y0 + 2]), metric=none)


def test_a_run_that_fails_is_named():
    with pytest.raises(fm.SimulationError, match=r"A run failed, twin 1: "):
        sheared(starts=jnp.stack([-Y0, 9 * Y0]), y0=-Y0 / 2, blow=1.0)
