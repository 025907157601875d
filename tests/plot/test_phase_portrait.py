"""The phase portrait: field, nullclines, fixed points by stability, and colours that say where a path ends."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

import flowmod as fm
from tests.zoo import toggle

LOG_BOX = ({"u": 0.1, "v": 0.05}, {"u": 250.0, "v": 25.0})
BOX = ({"x": -2.0, "y": -1.5}, {"x": 2.0, "y": 1.5})


def double_well(t, y, args):
    """x' = x - x^3, y' = -y: sinks at x = -1 and 1, a saddle between them."""
    return {"x": y["x"] - y["x"] ** 3, "y": -y["y"]}


FLOW = fm.VectorField(double_well)


def line(ax, label):
    return next((line for line in ax.lines if line.get_label() == label), None)


def paths(ax):
    return [line for line in ax.lines if line.get_linestyle() == "-"]


def on_the_line(ax, label):
    points = line(ax, label).get_xydata()
    return points[np.isfinite(points).all(axis=1)]


@pytest.fixture(scope="module")
def ends():
    starts = {"x": jnp.array([0.5, -0.2, 1.8, -1.5]), "y": jnp.array([1.0, -1.0, 0.5, 1.2])}
    return fm.ensemble(FLOW, starts, t1=12.0)


# --- the field ---


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_streamlines_follow_the_field(scale):
    """Each piece of a streamline is along the velocity, on logarithmic axes along that of the logarithms."""
    flow, box = (FLOW, BOX) if scale == "linear" else (toggle(), LOG_BOX)
    ax = fm.plot.phase_portrait(flow, box, scale=scale, nullclines=False)
    ax.figure.canvas.draw()
    stream = next(c for c in ax.collections if isinstance(c, LineCollection))
    pieces = np.concatenate([np.stack([p.vertices[:-1], p.vertices[1:]], axis=1) for p in stream.get_paths()])
    pieces = pieces[np.any(pieces[:, 0] != pieces[:, 1], axis=1)]
    assert len(pieces) > 100
    middles, steps = pieces.mean(axis=1), np.diff(pieces, axis=1)[:, 0]
    states = 10**middles if scale == "log" else middles
    names = list(box[0])
    velocity = flow.vector_field(0.0, {name: jnp.asarray(column) for name, column in zip(names, states.T, strict=True)})
    velocity = np.stack([velocity[name] for name in names], axis=1) / (states if scale == "log" else 1.0)
    speeds = np.linalg.norm(velocity, axis=1)
    # Close to a fixed point a streamline turns within a cell of the grid.
    away = speeds > 0.2 * np.median(speeds)
    velocity, steps = velocity[away], steps[away]
    cosines = np.sum(velocity * steps, axis=1) / np.linalg.norm(velocity, axis=1) / np.linalg.norm(steps, axis=1)
    assert np.quantile(cosines, 0.1) > 0.95
    # They are drawn inside the frame, whatever the scale.
    inside = stream.get_transform().transform(middles)
    assert np.all((inside >= ax.bbox.min - 1) & (inside <= ax.bbox.max + 1))


def test_streamlines_follow_when_the_axes_are_zoomed():
    """They are attached to the data: a fixed picture behind moving axes would be wrong."""
    ax = fm.plot.phase_portrait(toggle(), LOG_BOX, scale="log")
    stream = next(c for c in ax.collections if isinstance(c, LineCollection))
    ax.set(xlim=(1.0, 10.0), ylim=(1.0, 10.0))
    np.testing.assert_allclose(
        stream.get_transform().transform([0.5, 0.2]), ax.transData.transform([10**0.5, 10**0.2]), rtol=1e-6
    )


def test_time_and_args_reach_the_field():
    flow = fm.VectorField(lambda t, y, args: {"x": y["x"] - t, "y": y["y"] - args})
    ax = fm.plot.phase_portrait(flow, BOX, t=1.5, args=jnp.array(-0.5))
    np.testing.assert_allclose(on_the_line(ax, "x' = 0")[:, 0], 1.5, atol=1e-9)
    np.testing.assert_allclose(on_the_line(ax, "y' = 0")[:, 1], -0.5, atol=1e-9)


# --- nullclines ---


def test_nullclines_are_where_a_component_vanishes():
    """In closed form: u = a1 / (1 + v^2.5) and v = a2 / (1 + u)."""
    ax = fm.plot.phase_portrait(toggle(), LOG_BOX, scale="log")
    u, v = on_the_line(ax, "u' = 0").T
    np.testing.assert_allclose(u, 156.25 / (1 + v**2.5), rtol=0.01)
    u, v = on_the_line(ax, "v' = 0").T
    np.testing.assert_allclose(v, 15.6 / (1 + u), rtol=0.01)


def test_nullclines_in_several_pieces_are_not_joined():
    ax = fm.plot.phase_portrait(FLOW, BOX)
    points = line(ax, "x' = 0").get_xydata()
    assert np.isnan(points).all(axis=1).sum() == 3
    np.testing.assert_allclose(np.unique(np.round(on_the_line(ax, "x' = 0")[:, 0], 3)), [-1, 0, 1])


def test_nullclines_are_named_on_the_line():
    ax = fm.plot.phase_portrait(toggle(), LOG_BOX, scale="log")
    texts = {text.get_text(): np.array(text.get_position()) for text in ax.texts}
    assert set(texts) == {"u' = 0", "v' = 0"}
    for label, place in texts.items():
        assert np.min(np.abs(np.log(on_the_line(ax, label) / place)).max(axis=1)) < 1e-6


def test_nullclines_can_be_left_out():
    ax = fm.plot.phase_portrait(FLOW, BOX, nullclines=False)
    assert not ax.lines
    assert not ax.texts


def test_a_field_without_zeros_has_no_nullclines():
    """matplotlib would warn of a contour without a line, and warnings are errors here."""
    flow = fm.VectorField(lambda t, y, args: {"x": jnp.ones_like(y["x"]), "y": 2 + y["x"] ** 2})
    ax = fm.plot.phase_portrait(flow, BOX)
    assert len(on_the_line(ax, "x' = 0")) == len(on_the_line(ax, "y' = 0")) == 0
    assert not ax.texts


# --- equilibria and paths ---


def test_marks_by_stability():
    ax = fm.plot.phase_portrait(FLOW, BOX, (), fm.equilibria(FLOW, BOX))
    stable, saddle = line(ax, "stable"), line(ax, "saddle")
    np.testing.assert_allclose(np.sort(stable.get_xdata()), [-1, 1], atol=1e-6)
    np.testing.assert_allclose(saddle.get_xydata(), [[0, 0]], atol=1e-6)
    assert (stable.get_fillstyle(), saddle.get_fillstyle()) == ("full", "left")
    assert line(ax, "unstable") is None


@pytest.mark.slow
def test_an_unstable_point_is_open_and_an_undecided_one_is_a_square():
    backwards = fm.VectorField(lambda t, y, args: {"x": y["x"] ** 3 - y["x"], "y": y["y"]})
    ax = fm.plot.phase_portrait(backwards, BOX, (), fm.equilibria(backwards, BOX))
    assert line(ax, "unstable").get_fillstyle() == "none"
    assert len(line(ax, "unstable").get_xdata()) == 2
    turning = fm.VectorField(lambda t, y, args: {"x": y["y"], "y": -y["x"]})
    ax = fm.plot.phase_portrait(turning, BOX, (), fm.equilibria(turning, BOX))
    assert line(ax, "centre").get_marker() == "s"


def test_colours_say_where_a_path_ends(ends):
    found = fm.equilibria(FLOW, BOX)
    ax = fm.plot.phase_portrait(FLOW, BOX, ends, found)
    right, left, also_right, also_left = (to_hex(path.get_color()) for path in paths(ax))
    assert right == also_right != left == also_left
    # The colour belongs to the attractor, also where only one of them is reached.
    alone = fm.plot.phase_portrait(FLOW, BOX, ends[1], found)
    assert to_hex(paths(alone)[0].get_color()) == left
    np.testing.assert_allclose(paths(ax)[2].get_xdata(), ends.ys["x"][2])


def test_without_equilibria_paths_that_end_together_have_one_colour(ends):
    colours = [to_hex(path.get_color()) for path in paths(fm.plot.phase_portrait(FLOW, BOX, ends))]
    assert colours[0] == colours[2] != colours[1] == colours[3]


def test_a_path_that_ends_nowhere_is_grey(ends):
    short = fm.simulate(FLOW, {"x": jnp.array(0.5), "y": jnp.array(1.0)}, t1=0.1)
    ax = fm.plot.phase_portrait(FLOW, BOX, [short, ends], fm.equilibria(FLOW, BOX))
    colours = [to_hex(path.get_color()) for path in paths(ax)]
    assert colours[0] not in colours[1:]
    red, green, blue = (int(colours[0][i : i + 2], 16) for i in (1, 3, 5))
    assert red == green == blue


def test_a_pendulum_in_position_and_velocity():
    flow = fm.InertialFlow(lambda y, args: -jnp.cos(y), damping=0.2, units={"0": "rad", "1": "rad/s"})
    box = ((-4.0, -3.0), (4.0, 3.0))
    ax = fm.plot.phase_portrait(flow, box, (), fm.equilibria(flow, box))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("y[0] (rad)", "y[1] (rad/s)")
    np.testing.assert_allclose(np.sort(line(ax, "saddle").get_xdata()), [-np.pi, np.pi], rtol=1e-6)
    np.testing.assert_allclose(on_the_line(ax, "y[0]' = 0")[:, 1], 0.0, atol=1e-9)


def test_single_precision():
    box = tuple({name: jnp.float32(value) for name, value in corner.items()} for corner in BOX)
    ax = fm.plot.phase_portrait(FLOW, box, (), fm.equilibria(FLOW, box))
    assert len(line(ax, "stable").get_xdata()) == 2


# --- bad input ---


def test_equilibria_of_another_state():
    found = toggle().equilibria()
    with pytest.raises(ValueError, match="`equilibria` must be of states like the corners of `box`"):
        fm.plot.phase_portrait(FLOW, BOX, (), found)
    assert plt.get_fignums() == []


def test_runs_of_another_state():
    run = fm.simulate(toggle(), {"u": 1.0, "v": 8.0}, t1=1.0)
    with pytest.raises(ValueError, match="`ensemble` must hold states like the corners of `box`"):
        fm.plot.phase_portrait(FLOW, BOX, run)
