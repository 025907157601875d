"""Trajectories as tables and files: names, units, exact round trips, and files that are broken or foreign."""

import tempfile
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import flowmod as fm
from tests.zoo import arm_mass, arm_potential, toggle


@pytest.fixture(scope="module")
def run():
    return fm.simulate(toggle(), {"u": 1.0, "v": 8.0}, 5.0, observe=lambda t, y, args: {"sum": y["u"] + y["v"]})


def same(a, b):
    leaves_a, leaves_b = jax.tree.leaves(a), jax.tree.leaves(b)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(leaves_a, leaves_b, strict=True):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(x, y)


def test_round_trip_is_exact(run, tmp_path):
    back = fm.load(run.save(tmp_path / "run.nc"))
    for name in ("ts", "ys", "dissipated", "observed", "potential", "gradient_norm", "energy", "ledger", "end_time"):
        same(getattr(run, name), getattr(back, name))
    assert back.result is run.result
    assert back.stats == run.stats
    assert back.units == run.units
    assert back.solver == run.solver
    assert str(back) == str(run)


STATES = {
    "bare": jnp.ones(3),
    "scalar": jnp.asarray(1.5),
    "nested": {"a": {"b": jnp.ones((2, 2)), "c": jnp.asarray(0.5)}, "d": [jnp.ones(1), jnp.zeros(2)]},
    "tuple": (jnp.ones(2), {"x": jnp.ones(1)}),
    "float32": {"a": jnp.ones(2, jnp.float32)},
}


@pytest.mark.parametrize("name", list(STATES))
def test_round_trip_of_trees(name, tmp_path):
    flow = fm.VectorField(lambda t, y, args: jax.tree.map(jnp.negative, y))
    run = fm.simulate(flow, STATES[name], 1.0)
    same(run.ys, fm.load(run.save(tmp_path / "run.nc")).ys)


def test_a_module_comes_back_by_path_or_like_itself(tmp_path):
    net = eqx.nn.MLP(2, 1, 3, 1, activation=jnp.tanh, key=jax.random.key(0))
    flow = fm.GradientFlow(lambda net, args: jnp.sum(jax.vmap(net)(jnp.ones((1, 2))) ** 2))
    run = fm.simulate(flow, net, 1.0)
    path = run.save(tmp_path / "net.nc")
    np.testing.assert_array_equal(fm.load(path).ys["layers"][0]["weight"], run.ys.layers[0].weight)
    back = fm.load(path, like=net)
    same(eqx.filter(run.ys, eqx.is_array_like), eqx.filter(back.ys, eqx.is_array_like))
    assert back.ys.activation is net.activation
    with pytest.raises(ValueError, match="`like` has the leaves"):
        fm.load(path, like={"u": 1.0})


def test_inertial_and_failed_runs_round_trip(tmp_path):
    flow = fm.InertialFlow(arm_potential, fm.DenseMetric(arm_mass), 0.5)
    run = fm.simulate(flow, (jnp.ones(2), jnp.zeros(2)), 1.0)
    back = fm.load(run.save(tmp_path / "arm.nc"))
    same(run.ledger, back.ledger)
    failed = fm.simulate(fm.VectorField(lambda t, y, args: y**2), jnp.ones(1), 5.0, throw=False)
    back = fm.load(failed.save(tmp_path / "failed.nc"))
    assert back.result is fm.RESULTS.dt_min_reached
    assert back.reason == failed.reason


def test_xarray_has_names_dimensions_and_units(run):
    data = run.to_xarray()
    assert data["u"].dims == ("time",)
    assert data["u"].attrs["units"] == "1"
    assert data["observed.sum"].dims == ("time",)
    assert {"potential", "gradient_norm", "dissipated", "ledger", "energy"} <= set(data.data_vars)
    assert data["time"].attrs["long_name"] == "time"
    flow = fm.GradientFlow(lambda y, args: jnp.sum(y["w"] ** 2), units={"time": "h", "w": "nM", "potential": "kT"})
    data = fm.simulate(flow, {"w": jnp.ones((2, 3))}, 1.0).to_xarray()
    assert data["w"].dims == ("time", "w_0", "w_1")
    assert data["w"].attrs["units"] == "nM"
    assert data["time"].attrs["units"] == "h"
    assert data["potential"].attrs["units"] == "kT"
    assert data["dissipated"].attrs["units"] == "kT"


def test_dataframe_has_a_column_for_each_number(run):
    frame = run.to_dataframe()
    assert list(frame.columns)[:3] == ["u", "v", "observed.sum"]
    assert frame.index.name == "time"
    np.testing.assert_array_equal(frame["u"], run.ys["u"])
    flow = fm.VectorField(lambda t, y, args: jax.tree.map(jnp.negative, y))
    frame = fm.simulate(flow, {"w": jnp.ones((2, 2)), "b": jnp.asarray(1.0)}, 1.0).to_dataframe()
    assert list(frame.columns) == ["b", "w[0,0]", "w[0,1]", "w[1,0]", "w[1,1]"]


def test_a_run_prints_as_a_short_table(run):
    text = str(run)
    assert "energy ledger" in text
    assert "The run reached its end time." in text
    assert len(text.splitlines()) <= 12
    assert max(map(len, text.splitlines())) <= 100


def test_a_broken_write_leaves_the_good_file(run, tmp_path, monkeypatch):
    path = run.save(tmp_path / "run.nc")
    good = path.read_bytes()

    def fail(self, target, **kwargs):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    with pytest.raises(ValueError, match="can't be written: No space left"):
        run.save(path)
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]


def test_paths_that_cannot_be_written(run, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.nc"):
        run.save(tmp_path / "run.csv")
    with pytest.raises(ValueError, match="Make its folder"):
        run.save(tmp_path / "nowhere" / "run.nc")
    (tmp_path / "folder.nc").mkdir()
    with pytest.raises(ValueError, match="can't be written"):
        run.save(tmp_path / "folder.nc")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.nc"]


def test_a_folder_that_is_a_file(run, tmp_path):
    (tmp_path / "plain").write_text("not a folder")
    with pytest.raises(ValueError, match="can't be written: Not a directory"):
        run.save(tmp_path / "plain" / "run.nc")


def test_files_that_are_not_ours(run, tmp_path):
    with pytest.raises(ValueError, match="is not a file"):
        fm.load(tmp_path / "missing.nc")
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(ValueError, match="not a readable netCDF4 file"):
        fm.load(tmp_path / "text.nc")
    xr.Dataset({"a": ("x", np.ones(2))}).to_netcdf(tmp_path / "foreign.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="not a saved trajectory"):
        fm.load(tmp_path / "foreign.nc")
    whole = run.save(tmp_path / "run.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a readable netCDF4 file"):
        fm.load(tmp_path / "cut.nc")
    damaged = xr.open_dataset(tmp_path / "run.nc", engine="h5netcdf").load().drop_vars("u")
    damaged.to_netcdf(tmp_path / "damaged.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="damaged trajectory file"):
        fm.load(tmp_path / "damaged.nc")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # h5netcdf's finaliser
@settings(max_examples=60, deadline=None)
@given(cut=st.floats(0, 1), place=st.floats(0, 1), junk=st.binary(min_size=1, max_size=40))
def test_fuzzed_files_load_or_are_refused(run, cut, place, junk):
    """Cut anywhere, overwritten anywhere: a trajectory or one clear sentence, never another error."""
    with tempfile.TemporaryDirectory() as folder:
        path = run.save(Path(folder) / "run.nc")
        data = bytearray(path.read_bytes())
        data = data[: max(1, int(cut * len(data)))]
        start = int(place * len(data))
        data[start : start + len(junk)] = junk
        path.write_bytes(data)
        refusal = ""
        try:
            fm.load(path)
        except ValueError as error:
            refusal = str(error)
        assert not refusal or str(path) in refusal
