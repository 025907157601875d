"""Rate, ledger and states against time."""

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection

import flowmod as fm
from tests.zoo import toggle


@pytest.fixture(scope="module")
def run():
    return fm.simulate(toggle(), {"u": 1.0, "v": 8.0}, t1=20.0)


@pytest.fixture(scope="module")
def with_units():
    def potential(y, args):
        return jnp.sum(y["layers"][0] ** 2) + y["gain"] ** 2

    units = {"time": "h", "potential": "kT", "layers.0": "nM"}
    flow = fm.GradientFlow(potential, units=units)
    return fm.simulate(flow, {"layers": [jnp.array([[1.0, 2.0]])], "gain": 0.5}, t1=1.0)


def line(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


# --- rate ---


def test_rate_is_drawn_with_its_negative_part_shaded(run):
    rates = fm.contraction_rate(toggle(), run)
    assert rates[0] < 0 < rates[-1]
    ax = fm.plot.rate(run, rates)
    np.testing.assert_allclose(line(ax, "contraction rate").get_xydata(), np.stack([run.ts, rates], axis=1))
    shade = next(c for c in ax.collections if isinstance(c, FillBetweenPolyCollection))
    (outline,) = (path.vertices for path in shade.get_paths())
    assert outline[:, 1].max() <= 1e-12
    crossing = np.interp(0.0, rates, run.ts)
    assert outline[:, 0].max() == pytest.approx(crossing, rel=1e-6)
    assert ax.get_ylabel() == "contraction rate (1/time)"


def test_nothing_is_shaded_where_all_rates_are_positive(run):
    ax = fm.plot.rate(run, np.ones(len(run)))
    assert not ax.collections
    low, high = ax.get_ylim()
    assert low <= 0 < high


def test_rates_must_be_one_for_each_time(run):
    with pytest.raises(
        ValueError, match=rf"`rates` must be one number for each of the {len(run)} times, got shape \(3,\)"
    ):
        fm.plot.rate(run, np.ones(3))


# --- ledger ---


def test_ledger_draws_what_was_lost_and_what_was_dissipated(run):
    ax = fm.plot.ledger(run)
    lost, dissipated = line(ax, "lost").get_ydata(), line(ax, "dissipated").get_ydata()
    np.testing.assert_allclose(lost, run.potential[0] - run.potential)
    assert lost[-1] == pytest.approx(0.2590878, abs=1e-6)
    np.testing.assert_allclose(dissipated, lost, atol=1e-5)
    beside = ax.figure.axes[-1]
    assert beside.get_yscale() == "log"
    imbalance = beside.lines[0].get_ydata()
    np.testing.assert_allclose(imbalance[1:], np.abs(run.ledger[1:]))
    assert np.isnan(imbalance[0])


def test_a_ledger_that_does_not_close_is_seen():
    """Negative control: a flow at half its speed loses less than it says."""
    slow = fm.VectorField(lambda t, y, args: -y / 2, fm.Euclidean(), lambda y, args: jnp.sum(y**2) / 2)
    ax = fm.plot.ledger(fm.simulate(slow, jnp.ones(2), t1=2.0))
    ratio = line(ax, "dissipated").get_ydata()[-1] / line(ax, "lost").get_ydata()[-1]
    assert ratio == pytest.approx(0.5, rel=1e-4)
    assert ax.figure.axes[-1].lines[0].get_ydata()[-1] == pytest.approx(0.5, rel=1e-4)


@pytest.mark.slow
def test_ledger_of_a_run_at_rest():
    """Nothing is lost and nothing is dissipated: the logarithmic axis is empty, and no warning is made."""
    flow = fm.GradientFlow(lambda y, args: jnp.sum(y**2))
    ax = fm.plot.ledger(fm.simulate(flow, jnp.zeros(2), t1=1.0))
    ax.figure.canvas.draw()


def test_ledger_units(with_units):
    ax = fm.plot.ledger(with_units)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (h)", "energy (kT)")


def test_ledger_of_a_file(run, tmp_path):
    read = fm.load(run.save(tmp_path / "run.nc"))
    np.testing.assert_array_equal(
        line(fm.plot.ledger(read), "lost").get_ydata(), line(fm.plot.ledger(run), "lost").get_ydata()
    )


def test_no_ledger_without_a_potential():
    run = fm.simulate(fm.VectorField(lambda t, y, args: -y), jnp.ones(2), t1=1.0)
    with pytest.raises(ValueError, match="`trajectory` has no ledger, because its flow has no potential: give one"):
        fm.plot.ledger(run)


# --- states ---


def test_states_are_drawn_by_path_and_unit(with_units):
    ax = fm.plot.states(with_units)
    assert [line.get_label() for line in ax.lines] == ["gain", "layers.0[0,0] (nM)", "layers.0[0,1] (nM)"]
    np.testing.assert_allclose(line(ax, "gain").get_ydata(), with_units.ys["gain"])
    np.testing.assert_allclose(line(ax, "layers.0[0,1] (nM)").get_ydata(), with_units.ys["layers"][0][:, 0, 1])
    assert ax.get_xlabel() == "time (h)"
    assert len(ax.get_legend().get_texts()) == 3


def test_one_number_needs_no_legend():
    flow = fm.GradientFlow(lambda y, args: y**2, units={"y": "nM"})
    ax = fm.plot.states(fm.simulate(flow, jnp.array(1.0), t1=1.0))
    assert ax.get_ylabel() == "y (nM)"
    assert ax.get_legend() is None


def test_dimensionless_states_have_no_unit(run):
    ax = fm.plot.states(run)
    assert [line.get_label() for line in ax.lines] == ["u", "v"]
    assert ax.get_xlabel() == "time"


@pytest.mark.slow
def test_all_lines_can_be_told_apart():
    flow = fm.GradientFlow(lambda y, args: jnp.sum(y**2))
    ax = fm.plot.states(fm.simulate(flow, jnp.arange(1.0, 19.0), t1=1.0))
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 18
    with pytest.raises(ValueError, match=r"`trajectory` has 19 numbers in its state, and 18 lines are the most"):
        fm.plot.states(fm.simulate(flow, jnp.arange(1.0, 20.0), t1=1.0))


@pytest.mark.parametrize("draw", [fm.plot.states, fm.plot.ledger, lambda run: fm.plot.rate(run, None)])
def test_what_is_no_trajectory(draw, run):
    runs = fm.ensemble(toggle(), {"u": jnp.array([1.0, 2.0]), "v": jnp.array([8.0, 1.0])}, t1=1.0)
    with pytest.raises(ValueError, match=r"`trajectory` must be a Trajectory, got Ensemble: .* `ensemble\[0\]`"):
        draw(runs)
    with pytest.raises(ValueError, match=r"`trajectory` must be a Trajectory, got dict"):
        draw(run.ys)
