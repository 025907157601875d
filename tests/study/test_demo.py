"""The demo leaves all it promises, its numbers are the published ones, and a failing run destroys nothing."""

import dataclasses
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
from flowmod.study import DemoConfig, quick_demo, run_demo
from flowmod.study.demo import compute
from flowmod.study.demo import run as demo_run
from flowmod.study.demo.digits import DigitsConfig, load_digits

TOGGLE = {"landscape", "phase_portrait", "rate_map", "ledger", "rate", "basins", "inertia"}
DIGITS = {
    "network_loss",
    "network_accuracy",
    "network_ledger",
    "network_spectrum",
    "network_layers",
    "regression_rates",
    "regression_twins",
    "step_limits",
    "optimizers_layerwise",
    "optimizers_euclidean",
}
PICTURES = TOGGLE | DIGITS
RUNS = {
    "trajectory",
    "ensemble",
    "network_euclidean",
    "network_layerwise",
    "regression_0.01",
    "regression_0.1",
    "optimizers_layerwise",
    "optimizers_euclidean",
}
SADDLE, LEFT, RIGHT = 204.751608, 204.441191, 78.888478


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the quick demo, made as a user makes it."""
    folder = tmp_path_factory.mktemp("study")
    command = [sys.executable, "-W", "error", "-m", "flowmod", "demo", "--quick"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    for text in ("0.310416", "125.8631", "0.259087", "layerwise flow", "The rate is negative", "Adam", "results/demo"):
        assert text in run.stdout
    return folder / "results" / "demo"


@pytest.fixture(scope="module")
def record(folder):
    return json.loads((folder / "run.json").read_text())


@pytest.mark.slow
def test_all_files_are_there(folder):
    tables = {f"{name}.nc" for name in RUNS} | {"run.json"}
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
    assert record["config"] == json.loads(json.dumps(dataclasses.asdict(quick_demo())))
    assert record["seed"] == DemoConfig().digits.seed
    assert {"versions", "git", "machine", "time", "seconds", "results"} <= set(record)


@pytest.mark.slow
def test_the_numbers_are_the_published_ones(record):
    results = record["results"]["toggle"]
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
    run = record["results"]["toggle"]["run"]
    assert float(trajectory.ys["u"][-1]) == run["to"]["u"]
    assert float(trajectory.dissipated[-1]) == run["dissipated"]
    with xr.open_dataset(folder / "ensemble.nc", engine="h5netcdf") as runs:
        assert runs.sizes["member"] == quick_demo().toggle.starts ** 2
        assert (
            int((runs["end"] != runs["end_flat"]).sum()) == record["results"]["toggle"]["flat_metric"]["end_elsewhere"]
        )


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


# --- the digits ---


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "layerwise"])
def test_the_network_learns_and_its_energy_is_accounted_for(record, metric):
    run = record["results"]["network"][metric]
    assert run["worst_imbalance"] < 1e-6
    assert run["largest_inner_residual"] < 1e-7
    assert run["loss"][-1] < 0.4 * run["loss"][0]
    assert run["test_accuracy"][0] < 0.3
    assert run["test_accuracy"][-1] > 0.75
    assert np.all(np.diff(run["loss"]) < 0)
    assert np.all(np.diff(run["seconds"]) > 0)


@pytest.mark.slow
def test_the_network_does_not_contract_and_its_curvature_limits_the_step(record):
    run = record["results"]["network"]["layerwise"]
    assert len(run["rates"]) == len(run["probed"]) >= 5
    assert max(run["rates"]) < 0
    np.testing.assert_allclose(run["step_limits"], 2 / np.array(run["leading_eigenvalues"]), rtol=1e-12)
    assert set(run["conditions"]) == set(run["velocity_norms"]) == {"layers.0", "layers.2"}
    assert all(min(values) > 1 for values in run["conditions"].values())


@pytest.mark.slow
def test_the_regression_contracts_as_theory_says(record):
    small, large = record["results"]["regression"]["runs"]
    assert (small["decay_over_mass"], large["decay_over_mass"]) == pytest.approx((0.1, 1.0))
    np.testing.assert_allclose(small["rates"], small["decay_over_mass"], atol=1e-4)
    # Nothing is above this bound, which the directions set that no probability depends on.
    assert max(large["rates"]) < large["decay_over_mass"] + 1e-6
    assert 0.6 < large["rates"][0] < large["rates"][-1]


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_twins_stay_under_their_envelope_and_come_near_its_slope(record, index):
    run = record["results"]["regression"]["runs"][index]
    twins, envelope = np.array(run["twins"]), np.array(run["envelope"])
    assert np.all(twins <= envelope * (1 + 1e-6))
    # Not below it without bound: at the end they approach each other at the rate.
    last = -np.log(twins[:, -1] / twins[:, -2]) / (run["times"][-1] - run["times"][-2])
    np.testing.assert_allclose(last, run["rates"][-1], rtol=0.05)


@pytest.mark.slow
def test_every_optimizer_has_its_fates(record):
    runs = record["results"]["optimizers"]["runs"]
    assert set(runs) == {"layerwise Euler", "SGD", "Adam"}
    for run in runs.values():
        assert len(run["fates"]) == len(run["step_sizes"]) >= 6
        assert run["fates"][0] == "converging"
    assert runs["layerwise Euler"]["fates"][-1] == "diverged"
    for name in ("layerwise Euler", "SGD"):
        run = runs[name]
        below = np.array(run["step_sizes"]) < min(run["predicted_limit"], run["limit_at_start"])
        assert {fate for fate, stable in zip(run["fates"], below, strict=True) if stable} <= {"converged", "converging"}
        assert run["order"] == pytest.approx(1, abs=0.1)
    assert runs["Adam"]["predicted_limit"] is None


@pytest.mark.slow
def test_the_saved_networks_are_the_reported_ones(folder, record):
    for metric in ("euclidean", "layerwise"):
        run = fm.load(folder / f"network_{metric}.nc")
        reported = record["results"]["network"][metric]
        np.testing.assert_array_equal(run.ts, reported["times"])
        np.testing.assert_array_equal(run.potential, reported["loss"])
        np.testing.assert_array_equal(run.observed["test_accuracy"], reported["test_accuracy"])
    with xr.open_dataset(folder / "optimizers_euclidean.nc", engine="h5netcdf") as comparison:
        assert list(comparison["optimizer"].values) == ["SGD", "Adam"]


def test_without_scikit_learn_the_toggle_switch_is_all(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setattr(compute, "compute_toggle", lambda config, say: "toggle")
    demo = compute.compute_demo(quick_demo(), print)
    assert (demo.toggle, demo.network, demo.regression, demo.optimizers) == ("toggle", None, None, None)
    assert demo.left_out == (
        "The network, the regression and the optimizers are left out. The module `sklearn` is not installed: "
        "pip install 'flowmod[examples]'"
    )


def test_another_missing_module_is_not_passed_over(monkeypatch):
    def fails(config):
        raise ModuleNotFoundError("no", name="scipy")

    monkeypatch.setattr(compute, "load_digits", fails)
    with pytest.raises(ModuleNotFoundError, match="no"):
        compute.compute_demo(quick_demo(), print)


@pytest.mark.parametrize("train", [0, 1438])
def test_there_are_only_so_many_images(train):
    with pytest.raises(ValueError, match=r"`train` must be from 1 to 1437 images"):
        DigitsConfig(train=train)


def test_the_digits_are_split_by_the_seed():
    few, all_of_them, others = (load_digits(DigitsConfig(*numbers)) for numbers in ((20, 3), (1437, 3), (1437, 4)))
    assert len(all_of_them.labels) + len(all_of_them.test_labels) == 1797
    np.testing.assert_array_equal(few.images, all_of_them.images[:20])
    np.testing.assert_array_equal(few.test_images, all_of_them.test_images)
    assert not np.array_equal(all_of_them.labels, others.labels)
    assert (few.images.min(), few.images.max()) == (0, 1)


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
