"""The landscape: what is drawn is the potential, the metric and the paths, and a shallow barrier is seen."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.contour import QuadContourSet

import flowmod as fm
from flowmod.plot._levels import basins, contour_levels
from tests.zoo import toggle

MASS = np.array([[2.0, 0.9], [0.9, 1.0]])
BOX = (jnp.array([-1.0, -2.0]), jnp.array([2.0, 1.0]))
LOG_BOX = ({"u": 0.1, "v": 0.05}, {"u": 250.0, "v": 25.0})


def quadratic(y, args):
    return jnp.sum(y**2) / 2 if args is None else args * jnp.sum(y**2)


def tilted(metric=None, **kwargs):
    return fm.GradientFlow(quadratic, fm.ConstantMetric(MASS) if metric is None else metric, **kwargs)


def filled(ax):
    return next(c for c in ax.collections if isinstance(c, QuadContourSet) and c.filled)


def outlines(ax):
    polygons = next(c for c in ax.collections if isinstance(c, PolyCollection) and not isinstance(c, QuadContourSet))
    return [path.vertices[:-1] for path in polygons.get_paths()]


def middle(outline):
    return (outline.min(axis=0) + outline.max(axis=0)) / 2


def line(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


# --- the metric ---


def test_an_ellipse_is_a_unit_ball_of_the_metric():
    ellipses = outlines(fm.plot.landscape(tilted(), BOX))
    assert len(ellipses) == 49
    for outline in ellipses:
        v = outline - middle(outline)
        squares = np.einsum("ki,ij,kj->k", v, MASS, v)
        np.testing.assert_allclose(squares, squares[0], rtol=1e-2)
        # Negative control: it is no circle, so the inverse of M and the identity would be seen.
        assert np.ptp(np.einsum("ki,ij,kj->k", v, np.linalg.inv(MASS), v)) > 0.5 * squares[0]


def test_an_ellipse_is_long_where_the_metric_is_soft():
    """The longest chord is along the eigenvector of the smallest eigenvalue, in a box as wide as it is high."""
    _, directions = np.linalg.eigh(MASS)
    outline = outlines(fm.plot.landscape(tilted(), BOX))[0]
    v = outline - middle(outline)
    longest = v[np.argmax(np.linalg.norm(v, axis=1))]
    alignment = abs(longest @ directions[:, 0]) / np.linalg.norm(longest)
    assert alignment > 0.99


def test_on_log_axes_it_is_the_ball_of_the_logarithms():
    """v = y w with the logarithms' velocity w, so that the metric there is diag(y) M diag(y)."""
    metric = fm.DiagonalMetric(lambda y, args: {"u": 1 / y["u"] ** 2, "v": 4 / y["v"] ** 2})
    flow = fm.GradientFlow(lambda y, args: y["u"] + y["v"], metric)
    for outline in outlines(fm.plot.landscape(flow, LOG_BOX, scale="log")):
        w = np.log(outline) - middle(np.log(outline))
        squares = w[:, 0] ** 2 + 4 * w[:, 1] ** 2
        np.testing.assert_allclose(squares, squares[0], rtol=1e-2)


def test_no_ellipse_where_the_metric_is_none():
    metric = fm.DiagonalMetric(lambda y, args: jnp.stack([y[0], jnp.ones_like(y[0])]))
    ellipses = outlines(fm.plot.landscape(tilted(metric), BOX))
    assert 0 < len(ellipses) < 49
    assert all(middle(outline)[0] > 0 for outline in ellipses)


def test_ellipses_can_be_left_out():
    ax = fm.plot.landscape(tilted(), BOX, ellipses=False)
    assert not any(isinstance(c, PolyCollection) and not isinstance(c, QuadContourSet) for c in ax.collections)


def test_a_moving_metric_is_drawn_at_its_time():
    def moving(t, y, args):
        return jnp.diag(jnp.stack([1 + t, jnp.ones_like(t)]))

    flow = fm.GradientFlow(quadratic, fm.MovingMetric(moving))
    for t, ratio in ((0.0, 1.0), (3.0, 0.5)):
        extent = np.ptp(outlines(fm.plot.landscape(flow, BOX, t=t))[0], axis=0)
        np.testing.assert_allclose(extent[0] / extent[1], ratio, rtol=1e-2)


# --- the potential ---


def test_the_contours_are_the_potentials():
    contours = filled(fm.plot.landscape(tilted(), BOX))
    assert contours.levels[0] == pytest.approx(0.0, abs=1e-3)
    assert contours.levels[-1] == pytest.approx(4.0)
    assert len(contours.levels) > 8
    for level, pieces in zip(contours.levels[1:-1], contours.allsegs[:-1], strict=False):
        heights = 0.5 * np.sum(np.concatenate(pieces) ** 2, axis=1)
        # A vertex of a band lies on its edges, or on the frame.
        assert heights.max() < level * (1 + 1e-3) + 1e-3


def test_args_reach_the_potential():
    assert filled(fm.plot.landscape(tilted(), BOX, args=jnp.array(10.0))).levels[-1] == pytest.approx(80.0)


def test_a_barrier_of_a_thousandth_of_the_range_is_drawn():
    """The toggle: from 79 to 2200, with a pass of 0.31; even levels have none below it."""
    low, high = 204.441191, 204.751608
    levels = filled(fm.plot.landscape(toggle(), LOG_BOX, scale="log", ellipses=False)).levels
    assert np.sum((levels > low) & (levels < high)) >= 2
    assert np.min(np.abs(levels - high)) < 0.01
    even = np.linspace(levels[0], levels[-1], len(levels))
    assert not np.any((even > low) & (even < high))


def test_basins_of_a_double_well_have_the_depth_of_the_closed_form():
    """(x^2 - 1)^2 + x/10 + y^2: wells and pass are at the roots of 4x^3 - 4x + 1/10, and the left well is deeper."""
    left, top, right = np.sort(np.roots([4, 0, -4, 0.1]).real)
    height = lambda x: (x**2 - 1) ** 2 + x / 10  # noqa: E731
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, 201), np.linspace(-1, 1, 201))
    found = basins(height(x) + y**2)
    assert len(found) == 1
    np.testing.assert_allclose([found[0].bottom, found[0].brim], [height(right), height(top)], atol=1e-3)
    assert height(left) < found[0].bottom


def test_a_narrow_slanted_valley_is_one_basin():
    """On a grid it seems to have many minima, which are shallower than a step of the grid."""
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, 121), np.linspace(-0.5, 2.0, 121))
    values = (1 - x) ** 2 / 2 + 50 * (y - x**2) ** 2
    inner = values[1:-1, 1:-1]
    beside = [values[1 + i : 120 + i, 1 + j : 120 + j] for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    assert np.sum(inner < np.min(beside, axis=0)) > 1
    assert basins(values) == []


def test_levels_of_a_constant_and_of_gaps():
    assert len(contour_levels(np.full((5, 5), 3.0))) == 2
    holed = np.array([[1.0, np.nan, 2.0], [np.inf, 3.0, 4.0], [5.0, 6.0, 7.0]])
    levels = contour_levels(holed)
    assert (levels[0], levels[-1]) == (1.0, 7.0)
    assert np.all(np.diff(levels) > 0)


# --- paths and marks ---


@pytest.mark.slow
def test_paths_are_the_trajectories():
    flow = tilted()
    single = fm.simulate(flow, jnp.array([1.5, -1.0]), t1=3.0)
    many = fm.ensemble(flow, jnp.array([[-0.5, 0.5], [1.0, 0.8]]), t1=3.0)
    ax = fm.plot.landscape(flow, BOX, [single, many])
    paths = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert len(paths) == 3
    np.testing.assert_allclose(paths[0].get_xydata(), single.ys)
    np.testing.assert_allclose(paths[2].get_xydata(), many.ys[1])
    np.testing.assert_allclose(line(ax, "start").get_xydata(), [[1.5, -1.0], [-0.5, 0.5], [1.0, 0.8]])
    np.testing.assert_allclose(line(ax, "end").get_xydata()[0], single.ys[-1])


def test_one_trajectory_or_ensemble_needs_no_list():
    flow = tilted()
    runs = fm.ensemble(flow, jnp.array([[-0.5, 0.5], [1.0, 0.8]]), t1=3.0)
    for one, count in ((runs, 2), (runs[0], 1)):
        assert len(line(fm.plot.landscape(flow, BOX, one), "start").get_xdata()) == count


@pytest.mark.slow
def test_what_is_not_finite_is_left_out():
    """A member that stops early is infinite after its end."""
    flow = fm.VectorField(lambda t, y, args: y**2, potential=quadratic)
    runs = fm.ensemble(flow, jnp.array([[1.0, 0.1], [-0.5, -0.5]]), t1=2.0)
    assert list(runs.failed) == [0]
    paths = [line for line in fm.plot.landscape(flow, BOX, runs).lines if line.get_linestyle() == "-"]
    assert len(paths[0].get_xdata()) < len(paths[1].get_xdata()) == 101
    assert np.isfinite(paths[0].get_xydata()).all()


@pytest.mark.slow
def test_of_an_inertial_flow_positions_are_drawn():
    flow = fm.InertialFlow(quadratic, damping=1.0)
    trajectory = fm.simulate(flow, (jnp.array([1.0, 0.5]), jnp.array([0.0, 1.0])), t1=5.0)
    resting = fm.equilibria(flow, ((BOX[0], BOX[0]), (BOX[1], BOX[1])), starts=8)
    ax = fm.plot.landscape(flow, BOX, trajectory, equilibria=resting)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), trajectory.ys[0])
    np.testing.assert_allclose(line(ax, "stable").get_xydata(), [[0.0, 0.0]], atol=1e-9)


def test_labels_and_units():
    units = {"u": "nM", "potential": "kT"}
    flow = fm.GradientFlow(lambda y, args: y["u"] ** 2 + y["v"], units=units)
    ax = fm.plot.landscape(flow, ({"u": 0, "v": 0}, {"u": 1, "v": 2}))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("u (nM)", "v")
    assert ax.figure.axes[-1].get_ylabel() == "potential (kT)"
    assert (ax.get_xlim(), ax.get_ylim()) == ((0.0, 1.0), (0.0, 2.0))
    dimensionless = fm.plot.landscape(toggle(), LOG_BOX, scale="log")
    assert (dimensionless.get_xlabel(), dimensionless.get_xscale()) == ("u", "log")
    assert dimensionless.figure.axes[-1].get_ylabel() == "potential"


def test_colour_bar_has_a_tick_of_its_own_for_every_level_it_names():
    ax = fm.plot.landscape(toggle(), LOG_BOX, scale="log")
    texts = [text.get_text() for text in ax.figure.axes[-1].get_yticklabels()]
    assert len(texts) >= 5
    assert len(set(texts)) == len(texts)


@pytest.mark.slow
def test_single_precision():
    box = (jnp.array([-1.0, -2.0], dtype=jnp.float32), jnp.array([2.0, 1.0], dtype=jnp.float32))
    flow = fm.GradientFlow(quadratic, fm.ConstantMetric(jnp.asarray(MASS, dtype=jnp.float32)))
    trajectory = fm.simulate(flow, box[1], t1=1.0)
    assert fm.plot.landscape(flow, box, trajectory).lines


# --- bad input ---


def test_a_flow_without_a_potential():
    with pytest.raises(ValueError, match=r"`flow` must have a potential .*`fm.plot.phase_portrait"):
        fm.plot.landscape(fm.VectorField(lambda t, y, args: -y), BOX)


def test_a_potential_that_is_nowhere_finite():
    flow = fm.GradientFlow(lambda y, args: jnp.log(-jnp.sum(y**2)))
    with pytest.raises(ValueError, match=r"`flow.potential` is nowhere finite in `box`"):
        fm.plot.landscape(flow, BOX)


def test_trajectories_of_another_state():
    other = fm.GradientFlow(lambda y, args: jnp.sum(y["a"] ** 2))
    trajectory = fm.simulate(other, {"a": jnp.ones(2)}, t1=1.0)
    with pytest.raises(ValueError, match="`trajectories` must hold states like the corners of `box`"):
        fm.plot.landscape(tilted(), BOX, trajectory)
    with pytest.raises(ValueError, match="`trajectories` must be a Trajectory, an Ensemble or a sequence"):
        fm.plot.landscape(tilted(), BOX, [trajectory.ys])
    assert plt.get_fignums() == []
