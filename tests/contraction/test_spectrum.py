"""Growth rates at both ends of the spectrum: matrix-free against dense, warm starts, and what is said of the values."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import flowmod as fm
from flowmod.contraction import _extremes
from flowmod.contraction.jacobian import linearise
from tests.contraction.test_lanczos_rate import ANNEALED, CIRCUIT, FLOW, Y, mass

TIMES = np.linspace(0, 1, 6)
CASES = {"its own moving metric": (ANNEALED, Y, None), "another metric": (CIRCUIT, Y, fm.DenseMetric(mass))}


@pytest.mark.parametrize("case", list(CASES))
def test_matrix_free_equals_dense(case):
    """State-dependent metrics and indefinite `S`, to 1e-8 of the scale, at both ends; residuals cover the errors."""
    flow, y, metric = CASES[case]
    free, dense = (fm.contraction_spectrum(flow, y, 0.4, metric=metric, k=3, method=m) for m in ("lanczos", "dense"))
    assert free.largest.shape == free.smallest.shape == free.largest_residuals.shape == (3,)
    assert (free.exact, dense.exact) == (False, True)
    assert free.converged
    assert dense.converged
    assert dense.products == 0
    scale = float(dense.scale)
    np.testing.assert_allclose(free.scale, scale, rtol=1e-6)
    for end in ("largest", "smallest"):
        ours, exact = np.asarray(getattr(free, end)), np.asarray(getattr(dense, end))
        np.testing.assert_allclose(ours, exact, atol=1e-8 * scale)
        assert (np.abs(ours - exact) <= np.asarray(getattr(free, f"{end}_residuals")) + 1e-12 * scale).all()
    assert dense.smallest[0] < 0 < dense.largest[0]  # no modulus tells the end


def test_the_dense_one_is_that_of_scipy():
    lin = linearise(CIRCUIT, 0.4, jnp.asarray(Y), None, fm.DenseMetric(mass))
    expected = scipy.linalg.eigh(*lin.pencil, eigvals_only=True)
    found = fm.contraction_spectrum(CIRCUIT, Y, 0.4, metric=fm.DenseMetric(mass), k=3)
    np.testing.assert_allclose(found.largest, expected[::-1][:3], rtol=1e-9)
    np.testing.assert_allclose(found.smallest, expected[:3], rtol=1e-9)
    assert found.exact
    assert (found.largest_residuals < 1e-10 * found.scale).all()
    # Negative control: without `M'` it is another spectrum.
    S = lin.pencil[0] - lin.metric_rate / 2
    still = scipy.linalg.eigh(S, lin.metric, eigvals_only=True)[::-1][:3]
    assert np.abs(still / expected[::-1][:3] - 1).max() > 1e-3


RUN = fm.simulate(FLOW, jnp.asarray(Y), ts=TIMES)


def test_along_a_trajectory_each_search_begins_with_the_last_one():
    free = fm.contraction_spectrum(FLOW, RUN, k=2, method="lanczos", rtol=1e-3)
    dense = fm.contraction_spectrum(FLOW, RUN, k=2)
    assert dense.exact
    for end in ("largest", "smallest"):
        assert getattr(free, end).shape == (6, 2)
        missed = np.abs(getattr(free, end) - getattr(dense, end)) > getattr(free, f"{end}_residuals") + 1e-12
        assert not missed.any()
    # From inside of the spectrum.
    assert (free.largest <= dense.largest + 1e-10).all()
    assert (free.smallest >= dense.smallest - 1e-10).all()
    assert free.converged.all()
    assert (free.largest_residuals <= 1e-3 * free.scale[:, None]).all()
    assert (free.rate >= dense.rate - 1e-10).all()
    np.testing.assert_array_equal(dense.rate, -dense.largest[:, 0])


def test_a_warm_start_takes_fewer_products_and_is_not_believed_alone():
    """A hundred and fifty numbers, of which another one leads from the last time on; the start has nothing of it."""
    n = 150
    growth = jnp.concatenate([jnp.asarray([1.0, 0.0]), -jnp.linspace(1.0, 2.0, n - 2)])
    flow = fm.VectorField(lambda t, y, args: (growth.at[1].add(1.5 * jnp.floor(t))) * y)
    run = dataclasses.replace(RUN, ts=np.asarray([0.0, 0.4, 0.8, 1.2]), ys=np.ones((4, n)))
    found = fm.contraction_spectrum(flow, run, method="lanczos")
    np.testing.assert_allclose(found.largest[:, 0], [1.0, 1.0, 1.0, 1.5], rtol=1e-9)
    assert found.converged.all()
    assert (found.products[1:3] < found.products[0] - 8).all()


def test_what_overtakes_a_warm_start_that_is_still_exact_is_found():
    """The first eigenvector never changes, the second direction overtakes it, at the end of a wide spectrum."""
    n = 200
    growth = -jnp.linspace(1, 1000, n).at[0].set(0.9).at[1].set(1.0)
    flow = fm.VectorField(lambda t, y, args: growth.at[1].add(1.2 * t) * y)
    run = fm.simulate(flow, jnp.full(n, 1e-6), ts=np.linspace(0.0, 1.0, 6), solver="stiff")
    rates = fm.contraction_rate(flow, run)
    np.testing.assert_allclose(rates, [0.9, 0.76, 0.52, 0.28, 0.04, -0.2], rtol=1e-9)


def test_inside_a_transformation():
    ys, ts = jnp.asarray(RUN.ys), jnp.asarray(TIMES)
    subject, wanted = _extremes.Subject(FLOW, None, None, None), _extremes.Wanted(2, 2)
    along = eqx.filter_jit(lambda ts, ys: _extremes.extremes_along(ts, ys, subject, wanted))(ts, ys)
    expected = fm.contraction_spectrum(FLOW, RUN, k=2)
    np.testing.assert_allclose(along.values[:, :2], expected.largest, rtol=1e-9)
    np.testing.assert_allclose(along.values[:, 2:], expected.smallest, rtol=1e-9)
    assert along.converged.all()


def test_what_did_not_converge_has_no_rate(monkeypatch):
    def short(*args, **kwargs):
        return _short(*args, **kwargs | {"most": 5})

    _short = _extremes.extreme_eigenpairs
    monkeypatch.setattr(_extremes, "extreme_eigenpairs", short)
    flow = fm.VectorField(lambda t, y, args: -y * jnp.linspace(1.0, 9.0, y.size))
    found = fm.contraction_spectrum(flow, jnp.ones(500))
    assert not found.converged
    assert np.isnan(found.rate)
    assert -9 <= found.smallest[0] < found.largest[0] < -1
    assert found.largest_residuals[0] > 1e-3 * found.scale
    assert "converged     0 of 1" in str(found)


@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_a_metric_that_is_none_gives_nan(method):
    metric = fm.DenseMetric(lambda y, args: jnp.asarray([[1.0, 2.0], [2.0, 1.0]]))
    flow = fm.VectorField(lambda t, y, args: -y)
    found = fm.contraction_spectrum(flow, jnp.ones(2), metric=metric, method=method)
    assert np.isnan(found.rate)
    assert np.isnan(found.largest).all()
    assert np.isnan(found.smallest).all()
    assert not found.converged


def test_it_prints_and_has_labels():
    found = fm.contraction_spectrum(FLOW, RUN, k=2)
    text = str(found)
    assert "the 2 largest and the 2 smallest at 6 times, exact up to rounding (dense)" in text
    assert "converged     6 of 6" in text
    data = found.to_xarray()
    assert dict(data.sizes) == {"time": 6, "rank": 2}
    np.testing.assert_array_equal(data["largest"].sel(rank=1), found.largest[:, 0])
    np.testing.assert_array_equal(data["rate"], found.rate)
    assert data.attrs["exact"] == 1
    flow, y, metric = CASES["another metric"]
    state = fm.contraction_spectrum(flow, y, 0.4, metric=metric, k=3)
    assert "at t = 0.4, exact" in str(state)
    assert state.to_xarray()["largest"].dims == ("rank",)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="`k` must be a whole number from 1 to the 40 numbers of the state, got 41"):
        fm.contraction_spectrum(FLOW, Y, k=41)
    with pytest.raises(ValueError, match=r"`k` must be a whole number .* got 1\.0"):
        fm.contraction_spectrum(FLOW, Y, k=1.0)
    with pytest.raises(ValueError, match="`rtol` must be a number between 0 and 1, got 2"):
        fm.contraction_spectrum(FLOW, Y, method="lanczos", rtol=2)
    with pytest.raises(ValueError, match='`method` must be "auto", "dense" or "lanczos", got \'power\''):
        fm.contraction_spectrum(FLOW, Y, method="power")
    with pytest.raises(ValueError, match="`metric` must be a metric"):
        fm.contraction_spectrum(FLOW, Y, metric=np.eye(40))
    with pytest.raises(ValueError, match="`flow` must be a flow"):
        fm.contraction_spectrum(lambda y: y, Y)
