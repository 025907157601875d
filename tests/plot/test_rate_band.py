"""The band of rates: its edges are the ends of the spectrum, and what is not known is not drawn."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm

DECAYS = np.array([0.5, 2.0, 3.0])


@pytest.fixture(scope="module")
def spectrum():
    flow = fm.VectorField(lambda t, y, args: -jnp.asarray(DECAYS) * y, units={"time": "s"})
    run = fm.simulate(flow, jnp.ones(3), ts=np.linspace(0.0, 1.0, 5))
    return fm.contraction_spectrum(flow, run, k=2)


def lines(ax):
    return {line.get_label(): line.get_ydata() for line in ax.lines}


def test_the_edges_are_the_slowest_and_the_fastest_rate(spectrum):
    ax = fm.plot.rate_band(spectrum)
    drawn = lines(ax)
    np.testing.assert_allclose(drawn["contraction rate"], 0.5, rtol=1e-12)
    np.testing.assert_allclose(drawn["fastest decay"], 3.0, rtol=1e-12)
    np.testing.assert_allclose(drawn["_contraction rate 1"], 2.0, rtol=1e-12)
    assert ax.get_xlabel() == "time (s)"
    assert ax.get_ylabel() == "contraction rate (1/s)"
    band = ax.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose([band[:, 1].min(), band[:, 1].max()], [0.5, 3.0], rtol=1e-12)
    assert ax.get_yscale() == "linear"


def test_a_fast_direction_does_not_hide_the_rate(spectrum):
    wide = eqx.tree_at(lambda s: s.smallest, spectrum, spectrum.smallest * 1e3)
    assert fm.plot.rate_band(wide).get_yscale() == "symlog"


def test_what_did_not_converge_has_no_line(spectrum):
    known = np.array([True, True, False, True, True])
    ax = fm.plot.rate_band(eqx.tree_at(lambda s: s.converged, spectrum, known))
    assert np.isnan(lines(ax)["contraction rate"]).tolist() == (~known).tolist()
    with pytest.raises(ValueError, match="`spectrum` must be known at some time"):
        fm.plot.rate_band(eqx.tree_at(lambda s: s.converged, spectrum, np.zeros(5, bool)))


def test_wrong_input_is_named():
    flow = fm.VectorField(lambda t, y, args: -y)
    with pytest.raises(ValueError, match=r"`spectrum` must be the Spectrum of a trajectory.* got that of a state"):
        fm.plot.rate_band(fm.contraction_spectrum(flow, jnp.ones(2)))
    with pytest.raises(ValueError, match="got list"):
        fm.plot.rate_band([1.0])
