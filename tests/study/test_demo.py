"""The demo leaves all it promises, its numbers are the published ones, and a failing run destroys nothing."""

import json
import os
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

import flowmod as fm
from flowmod.study import DemoConfig, demo_run, quick_demo, run_demo

PICTURES = {"landscape", "phase_portrait", "rate_map", "ledger", "rate", "basins", "inertia"}
SADDLE, LEFT, RIGHT = 204.751608, 204.441191, 78.888478


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the quick demo, made as a user makes it."""
    folder = tmp_path_factory.mktemp("study")
    command = [sys.executable, "-W", "error", "-m", "flowmod", "demo", "--quick"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    for text in ("0.310416", "125.8631", "0.259087", "results/demo"):
        assert text in run.stdout
    return folder / "results" / "demo"


@pytest.fixture(scope="module")
def record(folder):
    return json.loads((folder / "run.json").read_text())


@pytest.mark.slow
def test_all_files_are_there(folder):
    tables = {"trajectory.nc", "ensemble.nc", "run.json"}
    assert {file.name for file in folder.iterdir()} == tables | {f"{name}.png" for name in PICTURES}
    assert os.listdir(folder.parent) == ["demo"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PICTURES))
def test_pictures_are_not_blank(folder, name):
    pixels = matplotlib.image.imread(folder / f"{name}.png")[..., :3]
    assert min(pixels.shape[:2]) >= 500
    assert np.mean(pixels.min(axis=-1) < 0.9) > 0.02


@pytest.mark.slow
def test_the_record_says_where_it_comes_from(record):
    assert record["command"] == ["flowmod", "demo", "--quick", "--out", "results/demo"]
    config = {name: tuple(value) if isinstance(value, list) else value for name, value in record["config"].items()}
    assert DemoConfig(**config) == quick_demo()
    assert record["seed"] is None
    assert {"versions", "git", "machine", "time", "seconds", "results"} <= set(record)


@pytest.mark.slow
def test_the_numbers_are_the_published_ones(record):
    results = record["results"]
    potentials = [point["potential"] for point in results["equilibria"]]
    np.testing.assert_allclose(potentials, [RIGHT, LEFT, SADDLE], rtol=1e-8)
    assert [point["stability"] for point in results["equilibria"]] == ["stable node", "stable node", "saddle"]
    heights = [barrier["height"] for barrier in results["barriers"]]
    np.testing.assert_allclose(heights, [0.310417, 125.86313], atol=1e-6)
    assert results["run"]["dissipated"] == pytest.approx(0.2590878, abs=5e-8)
    assert results["run"]["worst_imbalance"] < 1e-6
    assert results["inertial_run"]["worst_imbalance"] < 1e-6
    assert results["ensemble"]["failed"] == results["flat_metric"]["failed"] == 0
    assert results["ensemble"]["at_no_equilibrium"] == results["flat_metric"]["at_no_equilibrium"] == 0
    # Not contracting near the saddle, contracting at the end, where the rate nears the slowest eigenvalue.
    [[start, end]] = results["rates"]["negative_between"]
    assert start == 0
    assert 4 < end < 5
    assert results["rates"]["most"] < 0.211086


@pytest.mark.slow
def test_the_saved_runs_are_the_reported_ones(folder, record):
    trajectory = fm.load(folder / "trajectory.nc")
    run = record["results"]["run"]
    assert float(trajectory.ys["u"][-1]) == run["to"]["u"]
    assert float(trajectory.dissipated[-1]) == run["dissipated"]
    with xr.open_dataset(folder / "ensemble.nc", engine="h5netcdf") as runs:
        assert runs.sizes["member"] == quick_demo().starts ** 2
        assert int((runs["end"] != runs["end_flat"]).sum()) == record["results"]["flat_metric"]["end_elsewhere"]


def slopes(y):
    """Velocity and gradient of the toggle switch, written out by hand."""
    u, v = y
    f, g = 156.25 / (1 + v**2.5), 15.6 / (1 + u)
    du, dv = f - u, g - v
    mass = 15.6 / (1 + u) ** 2, 156.25 * 2.5 * v**1.5 / (1 + v**2.5) ** 2
    return np.array([du, dv]), -np.array([mass[0] * du, mass[1] * dv])


@pytest.mark.slow
def test_the_basins_are_those_that_scipy_finds(folder):
    with xr.open_dataset(folder / "ensemble.nc", engine="h5netcdf") as runs:
        starts = np.stack([runs[name].values[:, 0] for name in ("u", "v")], axis=-1)
        ends, flat_ends = runs["end"].values, runs["end_flat"].values
    # All that the metric decides, and some of the others.
    members = np.flatnonzero((ends != flat_ends) | (np.arange(len(ends)) % 13 == 0))
    assert (ends != flat_ends).sum() >= 3
    for member in members:
        for fn, end, t1 in (
            (lambda t, y: slopes(y)[0], ends[member], 40.0),
            (lambda t, y: -slopes(y)[1], flat_ends[member], 1e4),
        ):
            u, v = solve_ivp(fn, (0, t1), starts[member], method="LSODA", rtol=1e-8, atol=1e-10).y[:, -1]
            assert (u > 100, v < 1) == ((True, True) if end == 0 else (False, False)), (member, u, v)


# --- failures ---


def fail(*arguments):
    raise ValueError("no such thing")


@pytest.mark.parametrize("stage", ["compute_demo", "summarise", "draw_demo"])
def test_a_failing_run_leaves_the_earlier_one(tmp_path, monkeypatch, stage):
    earlier = {"run.json": "whole", "landscape.png": "good"}
    for name, text in earlier.items():
        (tmp_path / name).write_text(text)
    for name in ("compute_demo", "summarise", "draw_demo"):
        monkeypatch.setattr(demo_run, name, fail if name == stage else lambda *arguments: ())
    with pytest.raises(ValueError, match="no such thing"):
        run_demo(quick_demo(), tmp_path, ["flowmod", "demo"])
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == earlier


def test_an_unwritable_folder_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(demo_run, "compute_demo", lambda *arguments: pytest.fail("computed"))
    with pytest.raises(ValueError, match=r"`--out` .* can't be written to"):
        run_demo(quick_demo(), tmp_path / "file" / "demo", ["flowmod", "demo"])
