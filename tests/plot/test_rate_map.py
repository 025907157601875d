"""The rate map: colours are the rates, the line is where they change sign, grey is where there is none."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import QuadMesh

import flowmod as fm
from tests.zoo import rosenbrock, rosenbrock_residual, toggle

BOX = (jnp.array([-1.0, -2.0]), jnp.array([2.0, 1.0]))


def quartic(y, args):
    """The Hessian is diag(3 x^2 - 1, 2): the rate is min(3 x^2 - 1, 2)."""
    return y[0] ** 4 / 4 - y[0] ** 2 / 2 + y[1] ** 2


def cells(ax):
    return next(c for c in ax.collections if isinstance(c, QuadMesh))


def zeros(ax):
    points = next(line for line in ax.lines if line.get_label() == "rate = 0").get_xydata()
    return points[np.isfinite(points).all(axis=1)]


def test_cells_hold_the_rates_in_closed_form():
    mesh = cells(fm.plot.rate_map(fm.GradientFlow(quartic), BOX))
    edges = mesh.get_coordinates()
    x = (edges[:-1, :-1, 0] + edges[1:, 1:, 0]) / 2
    assert mesh.get_array().shape == x.shape
    np.testing.assert_allclose(mesh.get_array(), np.minimum(3 * x**2 - 1, 2.0), atol=1e-9)
    np.testing.assert_allclose([edges[0, 0], edges[-1, -1]], [BOX[0], BOX[1]])


def test_the_zero_line_is_where_the_rate_changes_sign():
    ax = fm.plot.rate_map(fm.GradientFlow(quartic), BOX)
    x = zeros(ax)[:, 0]
    np.testing.assert_allclose(np.abs(x), 1 / np.sqrt(3), atol=1e-3)
    assert np.ptp(np.sign(x)) == 2
    assert [text.get_text() for text in ax.texts] == ["0"]
    assert np.min(np.abs(np.array(ax.texts[0].get_position()) - zeros(ax)).max(axis=1)) < 1e-9


def test_on_log_axes_the_rate_has_another_sign_on_each_side_of_the_line():
    flow = toggle()
    ax = fm.plot.rate_map(flow, ({"u": 0.1, "v": 0.05}, {"u": 250.0, "v": 25.0}), scale="log")
    points = zeros(ax)
    for index in (5, len(points) // 2):
        point, ahead = points[index], points[index + 1]
        along = np.log(ahead / point)
        across = np.array([-along[1], along[0]]) / np.linalg.norm(along) * 0.05
        sides = [point * np.exp(sign * across) for sign in (-1, 1)]
        rates = [float(fm.contraction_rate(flow, {"u": jnp.asarray(u), "v": jnp.asarray(v)})) for u, v in sides]
        assert rates[0] * rates[1] < 0


@pytest.mark.slow
def test_the_metric_of_the_rate_can_be_another():
    """Gauss-Newton contracts at 1 in its own metric; gradient descent on the same potential does not everywhere."""

    def gauss_newton(y, args):
        jacobian = jnp.stack([jnp.stack([-1.0 + 0 * y[0], 0 * y[0]]), jnp.stack([-20 * y[0], 10.0 + 0 * y[0]])])
        return jacobian.T @ jacobian

    flow = fm.GradientFlow(rosenbrock, fm.DenseMetric(gauss_newton))
    np.testing.assert_allclose(rosenbrock_residual(jnp.ones(2)), 0.0)
    own = fm.plot.rate_map(flow, BOX)
    np.testing.assert_allclose(cells(own).get_array(), 1.0, rtol=1e-6)
    assert len(zeros(own)) == 0
    assert not own.texts
    euclidean = cells(fm.plot.rate_map(flow, BOX, metric=fm.Euclidean())).get_array()
    assert euclidean.min() < 0


def test_the_map_is_centred_and_says_where_it_ends():
    mesh = cells(fm.plot.rate_map(fm.GradientFlow(quartic), BOX))
    assert (mesh.norm.vmin, mesh.norm.vmax) == pytest.approx((-mesh.norm.vmax, -mesh.norm.vmin))
    wide = cells(fm.plot.rate_map(fm.GradientFlow(quartic), BOX, limit=7.0))
    assert (wide.norm.vmin, wide.norm.vmax) == (-7.0, 7.0)
    np.testing.assert_allclose(mesh.cmap(mesh.norm(0.0)), wide.cmap(wide.norm(0.0)))
    assert fm.plot.rate_map(fm.GradientFlow(quartic), BOX, limit=7.0).figure.axes[-1]._colorbar.extend == "neither"
    assert fm.plot.rate_map(fm.GradientFlow(quartic), BOX, limit=1.5).figure.axes[-1]._colorbar.extend == "max"
    assert fm.plot.rate_map(fm.GradientFlow(quartic), BOX, limit=0.5).figure.axes[-1]._colorbar.extend == "both"


def test_no_rate_where_the_metric_is_none():
    metric = fm.DiagonalMetric(lambda y, args: jnp.stack([y[0], jnp.ones_like(y[0])]))
    mesh = cells(fm.plot.rate_map(fm.GradientFlow(quartic, metric), BOX))
    x = mesh.get_coordinates()[:-1, :-1, 0]
    np.testing.assert_array_equal(np.ma.getmaskarray(mesh.get_array()), x < -1e-9)


@pytest.mark.parametrize(("unit", "label"), [("h", "1/h"), ("1", "1/time"), (None, "1/time")])
def test_the_colour_bar_has_the_unit(unit, label):
    flow = fm.GradientFlow(quartic, units=None if unit is None else {"time": unit})
    ax = fm.plot.rate_map(flow, BOX)
    assert ax.figure.axes[-1].get_ylabel() == f"contraction rate ({label})"


def test_single_precision():
    box = tuple(corner.astype(jnp.float32) for corner in BOX)
    mesh = cells(fm.plot.rate_map(fm.GradientFlow(quartic), box))
    assert mesh.get_array().max() == pytest.approx(2.0, rel=1e-5)


# --- bad input ---


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_that_is_not_positive(limit):
    with pytest.raises(ValueError, match="`limit` must be positive"):
        fm.plot.rate_map(fm.GradientFlow(quartic), BOX, limit=limit)


def test_a_metric_that_is_nowhere_one():
    metric = fm.DiagonalMetric(lambda y, args: -jnp.ones_like(y))
    with pytest.raises(ValueError, match="`metric` gives no finite rate anywhere in `box`"):
        fm.plot.rate_map(fm.GradientFlow(quartic), BOX, metric=metric)
    assert plt.get_fignums() == []


# --- runs and certificates on the map ---


def outlines(ax):
    return {line.get_label(): line for line in ax.lines if line.get_label().endswith("proved")}


def test_certificates_have_frames_and_runs_are_lines():
    flow = fm.GradientFlow(quartic)
    boxes = [(jnp.array([0.7, -1.0]), jnp.array([2.0, 1.0])), (jnp.array([-0.5, -1.5]), jnp.array([0.5, 0.5]))]
    proved, disproved = (fm.certify(flow, box) for box in boxes)
    run = fm.simulate(flow, jnp.array([1.5, -1.5]), t1=2.0)
    ax = fm.plot.rate_map(flow, BOX, run, [proved, disproved])
    frames = outlines(ax)
    assert set(frames) == {f"rate {proved.rate:.3g} proved", "disproved"}
    np.testing.assert_allclose(frames["disproved"].get_xydata()[[0, 2]], boxes[1])
    crosses = next(line for line in ax.lines if line.get_label() == "not contracting").get_xydata()
    np.testing.assert_allclose(crosses, [disproved.witness_point])
    polygons = ax.collections[-1].get_paths()
    assert len(polygons) == len(proved.boxes)
    assert any(len(line.get_xydata()) == len(run) for line in ax.lines)


def test_certificates_of_something_else_are_refused():
    flow = fm.GradientFlow(quartic)
    line = fm.certify(fm.VectorField(lambda t, y, args: -y), (jnp.array([0.0]), jnp.array([1.0])))
    with pytest.raises(ValueError, match="must be of the state that is drawn, of 2 numbers, got one of 1"):
        fm.plot.rate_map(flow, BOX, certificates=line)
    with pytest.raises(ValueError, match="`certificates` must be a Certificate or a sequence of them"):
        fm.plot.rate_map(flow, BOX, certificates=[0.5])
