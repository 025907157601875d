"""Fates as colours, over two numbers, by row and along a bifurcation; and bands over seeds."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import to_rgba

import flowmod as fm
from flowmod.plot._fates import COLOURS, edges_of
from flowmod.plot._palette import PAPER

STEPS = np.geomspace(0.1, 1.6, 5)


@pytest.fixture
def dataset():
    """Two momenta and five step sizes, not in order."""
    fate = np.array([["converged", "converged"], ["converged", "periodic"], ["converging", "irregular"]])
    fate = np.concatenate([fate, [["irregular", "diverged"], ["diverged", "diverged"]]])
    axes = ("step_size", "momentum")
    variables = {
        "fate": (axes, fate),
        "growth": (axes, np.ones((5, 2))),
        "predicted_limit": (axes[1:], [0.4, np.inf]),
    }
    found = xr.Dataset(variables, coords={"step_size": STEPS, "momentum": [0.0, 0.9]})
    return found.isel(step_size=[3, 0, 4, 1, 2], momentum=[1, 0])


def colours_of(mesh):
    return mesh.cmap(mesh.norm(mesh.get_array()))


def names_in(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_cells_have_the_colours_of_their_fates(dataset):
    ax = fm.plot.stability_map(dataset)
    [mesh] = [c for c in ax.collections if isinstance(c, QuadMesh)]
    wanted = dataset["fate"].sortby(["step_size", "momentum"]).values
    np.testing.assert_allclose(colours_of(mesh), [[to_rgba(COLOURS[fate]) for fate in row] for row in wanted])
    assert names_in(ax) == [*COLOURS, "predicted limit"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("momentum", "step size")
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "log")
    # The middle of each cell is its step size: the edges are half a ratio away.
    np.testing.assert_allclose(mesh.get_coordinates()[:, 0, 1], 0.1 * 2.0 ** (np.arange(6) - 0.5))


def test_the_limit_is_a_line_where_it_is_finite(dataset):
    line = next(line for line in fm.plot.stability_map(dataset).lines if line.get_label() == "predicted limit")
    np.testing.assert_array_equal(line.get_xydata(), [[0.0, 0.4], [0.9, np.nan]])
    for unknown in (np.nan, np.inf, 50.0):
        ax = fm.plot.stability_map(dataset.assign(predicted_limit=("momentum", [unknown] * 2)))
        assert "predicted limit" not in names_in(ax)


def test_whole_numbers_have_their_own_ticks(dataset):
    sizes = dataset.sortby("momentum").rename(momentum="batch_size").assign_coords(batch_size=[1, 16])
    ax = fm.plot.stability_map(sizes)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "16"]
    assert ax.get_xlabel() == "batch_size"


def test_fates_by_row(dataset):
    compared = dataset.rename(momentum="optimizer").assign_coords(optimizer=["adam", "euler"])
    ax = fm.plot.fates(compared)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["adam", "euler"]
    assert ax.yaxis_inverted()
    rows = [c for c in ax.collections if isinstance(c, QuadMesh)]
    for row, index in zip(rows, (0, 1), strict=True):
        wanted = compared["fate"].sortby("step_size").isel(optimizer=index).values
        np.testing.assert_allclose(colours_of(row)[0], [to_rgba(COLOURS[fate]) for fate in wanted])
    # The infinite limit of the first optimizer is no tick, that of the second crosses its row.
    [line] = [line for line in ax.lines if line.get_label() == "predicted limit"]
    np.testing.assert_allclose(line.get_xydata(), [[0.4, 0.5], [0.4, 1.5]])
    starts = xr.concat([compared, compared, compared], dim="start").assign_coords(start=[0, 1, 2])
    labels = [text.get_text() for text in fm.plot.fates(starts).get_yticklabels()]
    assert sorted(labels) == [f"{name}, start {i}" for name in ("adam", "euler") for i in range(3)]


@pytest.mark.parametrize(
    ("values", "edges", "scale"),
    [
        ([1.0, 2.0, 3.0], [0.5, 1.5, 2.5, 3.5], "linear"),
        ([1.0, 4.0, 16.0], [0.5, 2.0, 8.0, 32.0], "log"),
        ([1.0, 2.0, 4.0], [0.5**0.5, 2**0.5, 8**0.5, 32**0.5], "linear"),
        ([0.0, 1.0], [-0.5, 0.5, 1.5], "linear"),
        ([2.0], [1.0, 3.0], "linear"),
        ([0.0], [-0.5, 0.5], "linear"),
    ],
)
def test_edges(values, edges, scale):
    found = edges_of(np.array(values))
    np.testing.assert_allclose(found[0], edges)
    assert found[1] == scale


def test_a_bifurcation():
    fate = ["converged", "periodic", "irregular", "diverged"]
    observed = np.array([[1.0] * 4, [1.0, 2.0] * 2, [1.0, 1.3, 1.7, 2.1], [np.nan] * 4])
    variables = {
        "observed": (("step_size", "iterate"), observed),
        "fate": ("step_size", fate),
        "growth": ("step_size", np.ones(4)),
        "predicted_limit": ((), 1.5),
    }
    found = xr.Dataset(variables, coords={"step_size": [1.0, 2.0, 3.0, 4.0]})
    ax = fm.plot.bifurcation(found, label="x")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step size", "x")
    assert names_in(ax) == ["converged", "periodic", "irregular", "predicted limit"]
    for dots, step, values, name in zip(ax.collections, (1.0, 2.0, 3.0), observed[:3], fate[:3], strict=True):
        np.testing.assert_allclose(dots.get_offsets(), np.stack([np.full(4, step), values], axis=1))
        np.testing.assert_allclose(dots.get_facecolor()[0], to_rgba(COLOURS[name]))
    assert "predicted limit" not in names_in(fm.plot.bifurcation(found.assign(predicted_limit=9.0)))


@pytest.fixture
def scattered():
    runs, bands = ("optimizer", "seed", "time"), ("optimizer", "quantile", "time")
    values = np.array([[[4.0, 2.0, 1.0]], [[4.0, 3.0, np.inf]]])
    spread = np.array([1.5, 1.0, 0.5])[None, :, None]
    variables = {
        "loss": (runs, values, {"units": "J"}),
        "distance": (runs, values),
        "loss_band": (bands, values * spread),
        "distance_band": (bands, values * spread),
        "distance_of_mean": (("optimizer", "time"), values[:, 0] / 10),
        "flow_loss": ("time", [4.0, 1.0, 0.2]),
    }
    coords = {"optimizer": ["a", "b"], "quantile": [0.9, 0.5, 0.1], "flow_time": ("time", [0.0, 1.0, 2.0])}
    return xr.Dataset(variables, coords=coords)


def test_bands_over_seeds(scattered):
    ax = fm.plot.seeds(scattered)
    assert names_in(ax) == ["a", "b", "flow"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("time", "potential (J)", "log")
    band = next(c for c in ax.collections if isinstance(c, PolyCollection))
    points = band.get_paths()[0].vertices
    for time, low, high in ((0.0, 2.0, 6.0), (2.0, 0.5, 1.5)):
        at = points[points[:, 0] == time, 1]
        assert (at.min(), at.max()) == (low, high)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [4, 2, 1])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [4, 3, np.nan])
    ax = fm.plot.seeds(scattered, quantity="distance")
    assert names_in(ax) == ["a", "b", "mean over seeds"]
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), [[1.0, 0.2], [2.0, 0.1]])


def test_into_given_axes(dataset, scattered):
    ax = plt.subplots()[1]
    assert fm.plot.stability_map(dataset, ax=ax) is ax
    assert fm.plot.seeds(scattered, ax=ax) is ax


def test_every_two_colours_differ_in_lightness_or_hue():
    """Also for readers with deuteranopia, by Viénot's matrix for linear RGB."""
    see = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    seen = np.array([see @ np.array(to_rgba(colour)[:3]) ** 2.2 for colour in (*COLOURS.values(), PAPER)])
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    assert apart[~np.eye(len(seen), dtype=bool)].min() > 0.15


# --- bad input ---


def test_wrong_input(dataset, scattered):
    for name, draw in (("stability_map", fm.plot.stability_map), ("bifurcation", fm.plot.bifurcation)):
        for other in (None, {"fate": 1}, scattered):
            with pytest.raises(ValueError, match=rf"`dataset` must be what `fm.{name}` returns, got \w+"):
                draw(other)
    with pytest.raises(ValueError, match=r"`dataset` must be what `fm.compare` returns, got Dataset"):
        fm.plot.fates(scattered)
    with pytest.raises(ValueError, match=r"`dataset` must have fates of converged, .*, got 'lost'"):
        fm.plot.stability_map(dataset.assign(fate=dataset["fate"].where(dataset["fate"] != "periodic", "lost")))
    with pytest.raises(ValueError, match="`quantity` must be 'loss' or 'distance', got 'error'"):
        fm.plot.seeds(scattered, quantity="error")
    with pytest.raises(ValueError, match=r"`dataset` must be what `fm.compare_seeds` returns"):
        fm.plot.seeds(dataset)
    with pytest.raises(ValueError, match="`dataset` must have from 1 to 6 optimizers"):
        fm.plot.seeds(scattered.isel(optimizer=[0] * 7))
