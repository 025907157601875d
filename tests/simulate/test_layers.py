"""The metric's solve by layer along a run: from the same solve as the other measures, in tables and in files."""

import jax
import numpy as np
import pytest

import flowmod as fm
from flowmod.metric import MEASURES
from flowmod.simulate import layer_report
from tests.networks import classification


@pytest.fixture(scope="module")
def run():
    net, problem = classification()
    metric = fm.LayerwiseMetric.of(problem, mass=0.05)
    flow = fm.GradientFlow(problem, metric, units={"time": "s", "potential": "nat"})
    return flow, net, fm.simulate(flow, net, ts=np.linspace(0, 1, 4))


def test_each_saved_time_has_its_report(run):
    flow, _, trajectory = run
    assert trajectory.layers.condition.shape == (4, 2)
    assert trajectory.layers.best_step.shape == (4,)
    for place in (0, 3):
        there = layer_report(flow, jax.tree.map(lambda leaf, place=place: leaf[place], trajectory.ys))
        for name in (*MEASURES, "best_step"):
            ours = getattr(trajectory.layers, name)[place]
            np.testing.assert_allclose(ours, getattr(there, name), rtol=1e-6, atol=1e-12)
        assert trajectory.layers.solver == there.solver
    # Negative control: the report at one time is not that at another.
    assert np.abs(trajectory.layers.condition[0] / trajectory.layers.condition[3] - 1).min() > 1e-3


def test_the_measures_of_the_whole_are_those_of_the_layers(run):
    flow, _, trajectory = run
    y = jax.tree.map(lambda leaf: leaf[2], trajectory.ys)
    slope, velocity = jax.jit(lambda y: (jax.grad(flow.potential)(y), flow.vector_field(0.0, y)))(y)
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (slope, velocity)]
    assert np.linalg.norm(trajectory.layers.gradient_norm[2]) == pytest.approx(np.linalg.norm(flat[0]), rel=1e-10)
    assert np.linalg.norm(trajectory.layers.update_norm[2]) == pytest.approx(np.linalg.norm(flat[1]), rel=1e-8)
    assert trajectory.gradient_norm[2] == pytest.approx(np.sqrt(-flat[0] @ flat[1]), rel=1e-8)
    assert trajectory.inner_residual.max() < 1e-11


def test_all_measures_of_a_state_take_one_solve(run, monkeypatch):
    """Counted while the program of the measures is traced: one assembly of the metric, one solve."""
    flow, net, _ = run
    counted = []
    for name in ("assemble", "solve"):
        method = getattr(fm.LayerwiseMetric, name)
        monkeypatch.setattr(
            fm.LayerwiseMetric, name, lambda *a, name=name, method=method: counted.append(name) or method(*a)
        )
    from flowmod.simulate._measures import _slopes

    jax.eval_shape(lambda y: _slopes(0.0, y, (flow, None, net)), net)
    assert sorted(counted) == ["assemble", "solve"]


def test_layers_in_a_dataset_with_units(run):
    *_, trajectory = run
    data = trajectory.to_xarray()
    assert data["layer_condition"].dims == ("time", "layer")
    assert list(data["layer"].values) == ["layers.0", "layers.2"]
    assert list(data["layer_solver"].values) == list(trajectory.layers.solver)
    np.testing.assert_array_equal(data["layer_overlap"].sel(layer="layers.2"), trajectory.layers.overlap[:, 1])
    assert data["layer_condition"].units == "1"
    assert data["best_step"].units == "s"
    assert "units" not in data["layer_update_norm"].attrs  # of leaves with units of their own
    table = trajectory.to_dataframe()
    np.testing.assert_array_equal(table["layer_condition[layers.0]"], trajectory.layers.condition[:, 0])


def test_layers_travel_through_a_file(run, tmp_path):
    *_, trajectory = run
    loaded = fm.load(trajectory.save(tmp_path / "run.nc"))
    ours, theirs = trajectory.layers, loaded.layers
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)  # names, rows and solvers too
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert str(theirs) == str(ours)
    np.testing.assert_array_equal(loaded.inner_residual, trajectory.inner_residual)


def test_a_run_without_layers_has_none(tmp_path):
    net, problem = classification()
    plain = fm.simulate(fm.GradientFlow(problem), net, 0.1)
    assert plain.layers is None
    assert fm.load(plain.save(tmp_path / "run.nc")).layers is None
    assert "layer" not in plain.to_xarray()


def test_layers_inside_a_transformation(run):
    flow, net, trajectory = run
    ts = np.linspace(0, 1, 4)
    jitted = jax.jit(lambda y: fm.simulate(flow, y, ts=ts).layers)(net)
    np.testing.assert_allclose(jitted.condition, trajectory.layers.condition, rtol=1e-4)
    assert jitted.layers == trajectory.layers.layers
