"""Optimizers beside their flow: lines, marks by fate, limits, and what can't be drawn."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import flowmod as fm
from flowmod.discrete import compare, discretize

STEPS = [0.005, 0.01, 0.02, 0.1, 0.7]


@pytest.fixture(scope="module")
def dataset():
    flow = fm.GradientFlow(lambda y, args: jnp.sum(jnp.array([1.0, 4.0]) * y**2) / 2, units={"time": "h"})
    optimizers = {"euler": lambda h: discretize(flow, h), "adam": optax.adam, "nan": lambda h: optax.scale(jnp.nan)}
    return compare(flow, optimizers, jnp.array([1.0, 2.0]), [0.1, 0.7, 0.01, 0.005, 0.02], t1=1.0)


def line(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


@pytest.mark.parametrize("quantity", ["distance", "distance_metric"])
def test_lines_hold_the_largest_distance_by_step_size(dataset, quantity):
    ax = fm.plot.comparison(dataset, quantity=quantity)
    expected = dataset[quantity].sel(optimizer="adam").max("time").sortby("step_size")
    np.testing.assert_allclose(line(ax, "adam").get_xdata(), STEPS)
    np.testing.assert_allclose(line(ax, "adam").get_ydata(), expected)
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlabel()) == ("log", "log", "step size (h)")
    assert ax.get_ylabel().startswith("largest distance from the flow")


def test_a_run_that_diverged_is_marked_at_the_edge_and_has_no_place_on_the_line(dataset):
    ax = fm.plot.comparison(dataset)
    diverged = dataset.sortby("step_size")["fate"].sel(optimizer="euler").values == "diverged"
    assert list(diverged) == [False, False, False, False, True]
    np.testing.assert_array_equal(np.isnan(line(ax, "euler").get_ydata()), diverged)
    marks = [marks for marks in ax.lines if marks.get_label() == "_diverged" and len(marks.get_xdata())]
    assert [list(mark.get_xdata()) for mark in marks] == [[0.7], STEPS]
    heights = [mark.get_ydata()[0] for mark in marks]
    assert 0.8 < heights[1] < heights[0] < 1  # fractions of the axes, a row for each optimizer
    assert line(ax, "adam").get_ydata().max() < ax.get_ylim()[1]


def test_limits_stand_in_the_colour_of_their_optimizer(dataset):
    ax = fm.plot.comparison(dataset)
    limit = line(ax, "_limit euler")
    assert limit.get_xdata()[0] == pytest.approx(0.5, rel=1e-9)
    assert limit.get_color() == line(ax, "euler").get_color()
    assert not [line for line in ax.lines if line.get_label() == "_limit adam"]


def test_the_legend_explains_lines_and_marks(dataset):
    names = [text.get_text() for text in fm.plot.comparison(dataset).get_legend().get_texts()]
    assert names[:3] == ["euler", "adam", "nan"]
    assert {"converging", "diverged", "predicted limit", "fitted order"} <= set(names)
    without = fm.plot.comparison(dataset.sel(optimizer=["adam"])).get_legend().get_texts()
    assert not {"predicted limit", "fitted order"} & {text.get_text() for text in without}


def test_a_fitted_line_has_the_slope_that_it_says_until_the_end_of_its_regime(dataset):
    ax = fm.plot.comparison(dataset)
    [fitted] = [line for line in ax.lines if line.get_label() == "_order"]
    x, y = np.log(fitted.get_xydata()).T
    run = dataset.sel(optimizer="euler")
    assert np.diff(y) / np.diff(x) == pytest.approx(float(run["order"]), rel=1e-9)
    np.testing.assert_allclose(np.exp(x), [0.005, float(run["order_until"])], rtol=1e-12)
    assert [text.get_text() for text in ax.texts] == [f"{float(run['order']):.2f}"]
    # Above the distances, by the same factor on average.
    drawn = line(ax, "euler")
    inside = drawn.get_xdata() <= float(run["order_until"])
    level = np.interp(np.log(drawn.get_xdata()[inside]), x, y) - np.log(drawn.get_ydata()[inside])
    assert np.exp(level.mean()) == pytest.approx(1.6, rel=1e-9)


def test_nothing_but_failures_can_be_drawn(dataset):
    ax = fm.plot.comparison(dataset.sel(optimizer=["nan"]))
    ax.figure.canvas.draw()


def test_into_given_axes(dataset):
    first = fm.plot.comparison(dataset)
    assert fm.plot.comparison(dataset, ax=first) is first


def test_wrong_input(dataset):
    with pytest.raises(ValueError, match="`quantity` must be 'distance' or 'distance_metric', got 'loss'"):
        fm.plot.comparison(dataset, quantity="loss")
    for other in (None, {"distance": 1}, dataset.drop_vars("fate")):
        with pytest.raises(ValueError, match=r"`dataset` must be what `fm.compare` returns, got \w+"):
            fm.plot.comparison(other)
    with pytest.raises(ValueError, match=r"`dataset` must be of one flow and one start, got the dimension 'start'"):
        fm.plot.comparison(dataset.expand_dims("start"))
    many = dataset.isel(optimizer=[0] * 7)
    with pytest.raises(ValueError, match=r"`dataset` must have from 1 to 6 optimizers, .* got 7: choose some"):
        fm.plot.comparison(many)
    with pytest.raises(ValueError, match=r"`dataset` must have from 1 to 6 optimizers"):
        fm.plot.comparison(dataset.sel(optimizer="adam"))
