"""Pictures of trainings: what is drawn is what was computed, and a limit or an envelope that is broken is seen."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection

import flowmod as fm

SCALES = jnp.array([10.0, 1.0])
TIMES = np.linspace(0.0, 2.0, 41)


def bowl(y, args):
    return jnp.sum(SCALES * y**2) / 2


def observe(t, y, args):
    return {"test_accuracy": 1 / (1 + bowl(y, None)), "state": y}


def run_of(potential=bowl, metric=None, t1=2.0, ts=None, **kwargs):
    return fm.simulate(fm.GradientFlow(potential, metric, **kwargs), jnp.ones(2), t1=t1, ts=ts, observe=observe)


@pytest.fixture(scope="module")
def runs():
    newton = fm.ConstantMetric(np.diag([10.0, 1.0]))
    return {"Euclidean": run_of(ts=TIMES), "Newton": run_of(metric=newton, t1=5.0)}


@pytest.fixture(scope="module")
def clock(runs):
    return {name: 3.0 * np.asarray(run.ts) for name, run in runs.items()}


def line(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def shades(ax):
    return [c for c in ax.collections if isinstance(c, FillBetweenPolyCollection)]


# --- several runs: potentials and what was observed ---


def test_potentials_are_drawn_by_name(runs):
    ax = fm.plot.potentials(runs)
    assert labels(ax) == ["Euclidean", "Newton"]
    for name, run in runs.items():
        np.testing.assert_allclose(line(ax, name).get_xydata(), np.stack([run.ts, run.potential], axis=1))
    # Newton's flow is a straight contraction with the rate 1: 11/2 exp(-2t).
    np.testing.assert_allclose(line(ax, "Newton").get_ydata()[-1], 5.5 * np.exp(-10), rtol=1e-3)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("flow time", "potential", "log")
    assert not ax.get_legend().get_frame_on()


def test_the_start_is_on_the_time_axis(runs):
    """Decades of time are seen, and time zero with them."""
    ax = fm.plot.potentials(runs)
    assert ax.get_xscale() == "symlog"
    low, high = ax.get_xlim()
    assert low < 0 < 5 < high
    zero, first, last = ax.transData.transform([(0, 1), (runs["Newton"].ts[1], 1), (5, 1)])[:, 0]
    assert (first - zero) / (last - zero) > 0.05


def test_times_that_start_later_need_no_linear_part():
    late = run_of(ts=np.geomspace(1.0, 50.0, 9), t1=50.0)
    assert fm.plot.potentials({"late": late}).get_xscale() == "log"
    later = run_of(ts=np.linspace(1.0, 2.0, 9))
    assert fm.plot.potentials({"later": later}).get_xscale() == "linear"


def test_wall_time(runs, clock):
    ax = fm.plot.potentials(runs, clock=clock)
    np.testing.assert_allclose(line(ax, "Newton").get_xdata(), 3 * runs["Newton"].ts)
    assert ax.get_xlabel() == "wall time (s)"


def test_a_negative_potential_has_a_linear_axis(runs):
    ax = fm.plot.potentials({**runs, "lower": run_of(lambda y, args: bowl(y, args) - 1)})
    assert ax.get_yscale() == "linear"
    assert line(ax, "lower").get_ydata().min() < 0


def test_a_potential_of_zero_has_no_point():
    ax = fm.plot.potentials({"rest": fm.simulate(fm.GradientFlow(bowl), jnp.zeros(2), t1=1.0)})
    assert np.isnan(line(ax, "rest").get_ydata()).all()
    ax.figure.canvas.draw()


def test_one_run_needs_no_legend(runs):
    assert fm.plot.potentials({"one": runs["Newton"]}).get_legend() is None


def test_runs_share_their_units(runs):
    kelvin = run_of(units={"potential": "kT", "time": "h"})
    ax = fm.plot.potentials({"one": kelvin, "two": kelvin})
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("flow time (h)", "potential (kT)")
    with pytest.raises(ValueError, match=r"`runs` must have the same unit of `potential` .*'Newton': '1', 'k': 'kT'"):
        fm.plot.potentials({"Newton": runs["Newton"], "k": kelvin})


def test_observed_numbers(runs, clock):
    ax = fm.plot.observed(runs, "test_accuracy")
    np.testing.assert_allclose(line(ax, "Newton").get_ydata(), 1 / (1 + runs["Newton"].potential))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("flow time", "test accuracy", "linear")
    assert fm.plot.observed(runs, "test_accuracy", clock=clock).get_xlabel() == "wall time (s)"


def test_what_was_not_observed(runs):
    with pytest.raises(ValueError, match=r"`name` must be what `runs\['Euclidean'\]` observed, \['state', 'test_acc"):
        fm.plot.observed(runs, "loss")
    with pytest.raises(ValueError, match=r"`name` must be a scalar at each of the 41 times, got 'state' of shape \(41"):
        fm.plot.observed(runs, "state")
    blind = fm.simulate(fm.GradientFlow(bowl), jnp.ones(2), t1=1.0)
    with pytest.raises(ValueError, match=r"`runs\['blind'\]` observed, \[\], got 'loss': record it"):
        fm.plot.observed({"blind": blind}, "loss")


@pytest.mark.parametrize("draw", [fm.plot.potentials, lambda runs, **kw: fm.plot.observed(runs, "test_accuracy", **kw)])
def test_what_are_no_runs(draw, runs):
    members = fm.ensemble(fm.GradientFlow(bowl), jnp.ones((2, 2)), t1=1.0)
    with pytest.raises(ValueError, match=r"`runs` must be a mapping from names to trajectories.* got Trajectory"):
        draw(runs["Newton"])
    with pytest.raises(ValueError, match=r"`runs\['many'\]` must be a Trajectory, got Ensemble.*`ensemble\[0\]`"):
        draw({"many": members})
    for number in (0, 19):
        with pytest.raises(ValueError, match=f"`runs` must have from 1 to 18 entries.* got {number}: draw some"):
            draw({str(index): runs["Newton"] for index in range(number)})
    with pytest.raises(ValueError, match=r"`clock` must have the seconds of every run, and has none of \['Newton'\]"):
        draw(runs, clock={"Euclidean": TIMES})
    with pytest.raises(ValueError, match=r"`clock\['Euclidean'\]` must be one number for each of the 41 times"):
        draw(runs, clock={"Euclidean": TIMES[1:], "Newton": TIMES})
    assert plt.get_fignums() == []


def test_no_potential_to_draw():
    blind = fm.simulate(fm.VectorField(lambda t, y, args: -y), jnp.ones(2), t1=1.0)
    with pytest.raises(ValueError, match=r"`runs\['a'\]` has no potential, because its flow has none: give one"):
        fm.plot.potentials({"a": blind})


# --- layers ---


def test_layers():
    values = {"first": jnp.exp(-jnp.asarray(TIMES)), "second": np.where(TIMES < 1, TIMES, np.inf)}
    ax = fm.plot.layers(jnp.asarray(TIMES), values, label="condition number")
    np.testing.assert_allclose(line(ax, "first").get_ydata(), np.exp(-TIMES))
    np.testing.assert_array_equal(np.isnan(line(ax, "second").get_ydata()), (TIMES == 0) | (TIMES >= 1))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("flow time", "condition number", "log")
    assert labels(ax) == ["first", "second"]


def test_many_layers_are_told_apart():
    ax = fm.plot.layers(TIMES, {f"layer {n}": np.full(41, n + 1.0) for n in range(18)}, label="norm")
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 18
    assert len(labels(ax)) == 18
    ax.figure.canvas.draw()
    legend = ax.get_legend().get_window_extent()
    assert legend.x0 > ax.get_window_extent().x1 - 1
    assert legend.y0 > 0


def test_layers_that_are_all_zero():
    fm.plot.layers(TIMES, {"dead": np.zeros(41)}, label="norm").figure.canvas.draw()


def test_layers_that_are_none():
    with pytest.raises(ValueError, match=r"`values\['a'\]` must be one number for each of the 41 times, got .*\(3,\)"):
        fm.plot.layers(TIMES, {"a": np.ones(3)}, label="norm")
    with pytest.raises(ValueError, match=r"`values\['a'\]` must not be negative on a logarithmic axis, got -2"):
        fm.plot.layers(TIMES, {"a": TIMES - 2}, label="norm")
    with pytest.raises(ValueError, match="`values` must be a mapping from layers to arrays"):
        fm.plot.layers(TIMES, np.ones(41), label="norm")
    with pytest.raises(ValueError, match="`values` must have from 1 to 18 entries"):
        fm.plot.layers(TIMES, {}, label="norm")
    assert plt.get_fignums() == []


# --- the largest stable step ---


LIMITS = 0.1 + 0.2 * TIMES


def test_step_limits_with_the_smallest_marked():
    ax = fm.plot.step_limits(TIMES, jnp.asarray(LIMITS[::-1]))
    np.testing.assert_allclose(line(ax, "largest stable step").get_ydata(), LIMITS[::-1])
    np.testing.assert_allclose(line(ax, "smallest, 0.1").get_xydata(), [[2.0, 0.1]])
    assert labels(ax) == ["largest stable step", "smallest, 0.1", "unstable"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("flow time", "step size", "log")


def test_what_lies_above_the_limit_is_shaded():
    ax = fm.plot.step_limits(TIMES, LIMITS, step_sizes=[0.05, 0.3, 2.0])
    (outline,) = (path.vertices for path in shades(ax)[0].get_paths())
    assert outline[:, 1].min() == pytest.approx(0.1)
    assert outline[:, 1].max() == pytest.approx(ax.get_ylim()[1])
    assert ax.get_ylim()[0] < 0.05 < 2.0 < ax.get_ylim()[1]
    for size, dashes in ((0.05, "-"), (0.3, "--"), (2.0, "--")):
        step = line(ax, f"_step {size:g}")
        assert step.get_linestyle() == dashes
        np.testing.assert_allclose(step.get_ydata(), size)
    assert [text.get_text() for text in ax.texts] == ["0.05", "0.3", "2"]


def test_a_step_at_the_smallest_limit_is_stable_as_any_below():
    """Step and limit may be computed from one number."""
    ax = fm.plot.step_limits(TIMES, LIMITS, step_sizes=0.1)
    assert line(ax, "_step 0.1").get_linestyle() == "-"


def test_limits_that_are_infinite_or_unknown():
    limits = np.where(TIMES > 1.5, np.inf, np.where(TIMES < 0.5, np.nan, LIMITS))
    ax = fm.plot.step_limits(TIMES, limits)
    known = (TIMES >= 0.5) & (TIMES <= 1.5)
    np.testing.assert_array_equal(np.isfinite(line(ax, "largest stable step").get_ydata()), known)
    np.testing.assert_allclose(line(ax, "smallest, 0.2").get_xydata(), [[0.5, 0.2]])
    (outline,) = (path.vertices for path in shades(ax)[0].get_paths())
    assert (outline[:, 0].min(), outline[:, 0].max()) == (0.5, 1.5)
    low, high = ax.get_xlim()
    assert low <= 0 < 2 <= high
    nothing = fm.plot.step_limits(TIMES, np.full(41, np.inf))
    assert not shades(nothing)
    nothing.figure.canvas.draw()


def test_where_no_step_is_stable_all_are_shaded():
    limits = np.where(TIMES < 0.5, 0.0, LIMITS)
    ax = fm.plot.step_limits(TIMES, limits, step_sizes=0.15)
    np.testing.assert_array_equal(np.isnan(line(ax, "largest stable step").get_ydata()), limits == 0)
    assert line(ax, "_step 0.15").get_linestyle() == "--"
    (outline,) = (path.vertices for path in shades(ax)[0].get_paths())
    assert outline[outline[:, 0] < 0.45][:, 1].min() < ax.get_ylim()[0]
    fm.plot.step_limits(TIMES, 0 * TIMES).figure.canvas.draw()


def test_limits_that_are_none():
    with pytest.raises(ValueError, match=r"`limits` must be one number for each of the 41 times, got shape \(40,\)"):
        fm.plot.step_limits(TIMES, LIMITS[1:])
    with pytest.raises(ValueError, match="`limits` must not be negative, got -1: where every step is stable"):
        fm.plot.step_limits(TIMES, TIMES - 1)
    for bad in (0.0, [0.1, -1.0], np.nan, [[0.1]]):
        with pytest.raises(ValueError, match="`step_sizes` must be positive numbers, one for each line, got"):
            fm.plot.step_limits(TIMES, LIMITS, step_sizes=bad)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("times", "complaint"),
    [
        (np.zeros((2, 2)), r"`times` must be an array \(T,\), got shape \(2, 2\)"),
        (np.zeros(0), r"`times` must be an array \(T,\), got shape \(0,\)"),
        (np.array([0.0, np.inf]), "`times` must be finite and ascend"),
        (np.array([1.0, 0.0]), "`times` must be finite and ascend"),
    ],
)
def test_times_that_are_none(times, complaint):
    with pytest.raises(ValueError, match=complaint):
        fm.plot.step_limits(times, np.ones(np.shape(times)))


# --- the spectrum ---

FIVE = np.array([0.0, 0.1, 1.0, 3.0, 10.0])
RATES = np.array([-24.0, -2.9, -0.98, -0.34, -0.11])
EIGENVALUES = np.array([310.0, 120.0, 40.0, 22.0, 30.0])


def test_rates_and_eigenvalues_are_on_one_axis():
    ax = fm.plot.spectrum(FIVE, jnp.asarray(RATES), jnp.asarray(EIGENVALUES))
    np.testing.assert_allclose(line(ax, "contraction rate").get_xydata(), np.stack([FIVE, RATES], axis=1))
    np.testing.assert_allclose(line(ax, "leading eigenvalue").get_xydata(), np.stack([FIVE, EIGENVALUES], axis=1))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("flow time", "rate (1/time)", "symlog")
    assert labels(ax) == ["leading eigenvalue", "contraction rate"]
    heights = ax.transAxes.inverted().transform(ax.transData.transform(np.stack([FIVE, RATES], axis=1)))[:, 1]
    assert np.all(np.diff(heights) > 0.03), "each of the decades is seen"


@pytest.mark.parametrize("rates", [RATES, -RATES])
def test_the_step_limit_is_read_on_the_right(rates):
    """A tick of the right axis is as high as the eigenvalue that has this limit, also after a zoom."""
    ax = fm.plot.spectrum(FIVE, rates, EIGENVALUES)
    beside = ax.figure.axes[-1]
    assert beside.get_ylabel() == "step limit, 2 / eigenvalue"
    for limits in (ax.get_ylim(), (1.0, 400.0)):
        ax.set_ylim(*limits)
        assert beside.get_ylim() == ax.get_ylim()
        for place, text in zip(beside.get_yticks(), beside.get_yticklabels(), strict=True):
            step = 10.0 ** float(text.get_text().strip("$")[4:-1])
            assert place == pytest.approx(2 / step)
            height = ax.transData.transform((1.0, 2 / step))
            np.testing.assert_allclose(beside.transData.transform((1.0, place)), height)
    np.testing.assert_allclose(np.sort(2 / np.asarray(beside.get_yticks())), [1e-3, 1e-2, 1e-1])


def test_a_contracting_flow_has_a_logarithmic_axis():
    assert fm.plot.spectrum(FIVE, np.full(5, 0.1), EIGENVALUES).get_yscale() == "log"


@pytest.mark.parametrize("eigenvalues", [-EIGENVALUES, np.full(5, np.nan), np.zeros(5)])
@pytest.mark.parametrize("rates", [np.array([np.nan, np.inf, -1.0, 0.0, 1e-30]), np.full(5, np.nan), np.zeros(5)])
def test_spectra_that_have_gaps(rates, eigenvalues):
    fm.plot.spectrum(FIVE, rates, eigenvalues).figure.canvas.draw()


def test_spectra_that_are_none():
    with pytest.raises(ValueError, match=r"`rates` must be one number for each of the 5 times, got shape \(4,\)"):
        fm.plot.spectrum(FIVE, RATES[1:], EIGENVALUES)
    with pytest.raises(ValueError, match=r"`eigenvalues` must be one number for each of the 5 times, got shape \(5, 2"):
        fm.plot.spectrum(FIVE, RATES, np.ones((5, 2)))


# --- twins ---


@pytest.fixture(scope="module")
def twin_distance():
    flow = fm.GradientFlow(bowl)
    one, other = (
        fm.simulate(flow, y0, ts=TIMES, t1=2.0, rtol=1e-9, atol=1e-12).ys for y0 in (jnp.ones(2), jnp.zeros(2))
    )
    return np.linalg.norm(one - other, axis=1)


def test_twins_stay_below_the_envelope_of_the_rate(twin_distance):
    """The bowl contracts at its smaller curvature, 1."""
    ax = fm.plot.twins(TIMES, jnp.asarray(twin_distance), 1.0)
    np.testing.assert_allclose(line(ax, "twins").get_ydata(), twin_distance / np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(line(ax, "envelope, rate 1").get_ydata(), np.exp(-TIMES))
    assert labels(ax) == ["envelope, rate 1", "twins"]
    assert not shades(ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("flow time", "distance / distance at the start")
    assert ax.get_yscale() == "log"


def test_twins_above_the_envelope_are_marked(twin_distance):
    """Negative control: a rate that is too large holds at first only."""
    ax = fm.plot.twins(TIMES, twin_distance, 1.5)
    relative = twin_distance / twin_distance[0]
    above = relative > np.exp(-1.5 * TIMES)
    assert 0 < above.sum() < 41
    np.testing.assert_allclose(
        line(ax, "above the envelope").get_xydata(), np.stack([TIMES, relative], axis=1)[above], rtol=1e-12
    )
    assert len(shades(ax)) == 1


def test_rounding_is_no_failure():
    for excess, marked in ((1e-7, False), (1e-5, True)):
        ax = fm.plot.twins(TIMES, np.where(TIMES > 1, 1 + excess, 1.0) * np.exp(-TIMES), 1.0)
        assert ("above the envelope" in labels(ax)) == marked


def test_several_pairs_and_a_rate_that_changes():
    """The integral of 1 + t is t + t^2/2, and the trapezoidal rule is exact on it."""
    exact = np.exp(-TIMES - TIMES**2 / 2)
    ax = fm.plot.twins(TIMES, jnp.stack([3 * exact, 0.1 * exact**2]), jnp.asarray(1 + TIMES))
    np.testing.assert_allclose(line(ax, "2 pairs of twins").get_ydata(), exact)
    np.testing.assert_allclose(line(ax, "_pair 1").get_ydata(), exact**2)
    envelope = ax.lines[0]
    np.testing.assert_allclose(envelope.get_ydata(), exact)
    assert "rate" in envelope.get_label()
    assert "above the envelope" not in labels(ax)


def test_an_envelope_that_leaves_the_picture():
    """A network's rates allow for growth that no float has; the twins are still seen."""
    ax = fm.plot.twins(TIMES, np.exp(-TIMES), -2000.0)
    assert ax.get_ylim()[1] < 10
    assert not shades(ax)
    ax.figure.canvas.draw()


def test_twins_that_meet():
    ax = fm.plot.twins(TIMES, np.maximum(1 - TIMES, 0), 1.0)
    np.testing.assert_array_equal(np.isnan(line(ax, "twins").get_ydata()), TIMES >= 1)
    ax.figure.canvas.draw()


def test_twins_that_are_none():
    with pytest.raises(
        ValueError, match=r"`distances` must be one number for each of the 41 times, .* shape \(41, 2\)"
    ):
        fm.plot.twins(TIMES, np.ones((41, 2)), 1.0)
    with pytest.raises(ValueError, match="`distances` must start positive and finite: start the twins apart"):
        fm.plot.twins(TIMES, TIMES, 1.0)
    with pytest.raises(ValueError, match="`distances` must not be negative"):
        fm.plot.twins(TIMES, 1 - TIMES, 1.0)
    with pytest.raises(ValueError, match=r"`rates` must be one number for each of the 41 times, got shape \(3,\)"):
        fm.plot.twins(TIMES, np.ones(41), np.ones(3))
    with pytest.raises(ValueError, match="`rates` must be finite, or there is no envelope"):
        fm.plot.twins(TIMES, np.ones(41), np.nan)
    assert plt.get_fignums() == []


# --- axes ---


def test_they_draw_into_the_axes_they_are_given(runs):
    draws = (
        lambda ax: fm.plot.potentials(runs, ax=ax),
        lambda ax: fm.plot.observed(runs, "test_accuracy", ax=ax),
        lambda ax: fm.plot.layers(TIMES, {"a": LIMITS}, label="norm", ax=ax),
        lambda ax: fm.plot.step_limits(TIMES, LIMITS, ax=ax),
        lambda ax: fm.plot.spectrum(FIVE, RATES, EIGENVALUES, ax=ax),
        lambda ax: fm.plot.twins(TIMES, LIMITS, -1.0, ax=ax),
    )
    figure, axes = plt.subplots(2, 3, layout="constrained")
    for draw, ax in zip(draws, axes.flat, strict=True):
        assert draw(ax) is ax
        with pytest.raises(ValueError, match=r"`ax` must be one matplotlib `Axes`, got ndarray: pick one"):
            draw(axes)
    figure.canvas.draw()
    assert plt.get_fignums() == [figure.number]
