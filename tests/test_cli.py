"""The command: what it prints and writes, and one sentence with an exit code for what goes wrong."""

import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import flowmod as fm
from flowmod.study import extras

SOURCE = """
import jax.numpy as jnp
import flowmod as fm

bowl = fm.GradientFlow(lambda y, args: jnp.sum(y**2) / 2)
escape = fm.VectorField(lambda t, y, args: {"x": y["x"] ** 2})
shapes = fm.GradientFlow(lambda y, args: jnp.sum(y @ jnp.ones((3, 3))))
many = fm.VectorField(lambda t, y, args: -y)
"""


def files():
    return sorted(set(os.listdir()) - {"model.py", "__pycache__"})


def test_version(flowmod):
    assert flowmod("--version") == f"flowmod, version {fm.__version__}\n"


def test_list(flowmod):
    text = flowmod("list")
    for word in ("toggle_switch", "rosenbrock", "double_pendulum", "a1=156.25", "x=-1.2"):
        assert word in text


@pytest.mark.parametrize("words", [(), ("demo",), ("list",), ("simulate",), ("contraction",), ("equilibria",)])
def test_help(flowmod, words):
    assert "Usage: " in flowmod(*words, "--help")


# --- simulate ---


def test_simulate_prints_the_run_and_writes_a_table(flowmod):
    text = flowmod("simulate", "rosenbrock", "--t1", "2", "--points", "5", "--out", "run.csv")
    assert re.search(r"ended +The run reached its end time\.", text)
    table = pd.read_csv("run.csv", index_col="time")
    np.testing.assert_allclose(table.index, [0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(table["x"], 1 - 2.2 * np.exp(-table.index), rtol=1e-5)
    assert files() == ["run.csv"]


def test_simulate_writes_netcdf_that_loads(flowmod):
    flowmod("simulate", "toggle_switch", "--set", "n=2", "--y0", "v=5", "--out", "run.nc")
    run = fm.load("run.nc")
    again = fm.simulate(fm.bio.toggle_switch(156.25, 15.6, n=2.0, m=1.0), {"u": 1.0, "v": 5.0}, 20.0)
    np.testing.assert_allclose(run.ys["u"], again.ys["u"], rtol=1e-9)


def test_simulate_a_file(flowmod):
    text = flowmod("simulate", "model.py:bowl", "--y0", "[1, 2]", "--t1", "1", "--stiff")
    assert "Kvaerno5" in text


@pytest.mark.slow
@pytest.mark.parametrize("target", ["toggle_switch", "double_pendulum", "model.py:escape"])
@pytest.mark.parametrize("ending", ["png", "svg"])
def test_simulate_draws(flowmod, target, ending):
    start = ("--y0", "x=-1") if target == "model.py:escape" else ()
    flowmod("simulate", target, *start, "--t1", "3", "--plot", f"run.{ending}")
    assert files() == [f"run.{ending}"]
    assert os.path.getsize(f"run.{ending}") > 5000


# --- contraction ---


def test_contraction_in_the_metric_of_the_flow(flowmod):
    text = flowmod("contraction", "rosenbrock", "--out", "rate.csv")
    assert "least 1, most 1" in text
    assert "in the flow's own metric" in text
    assert "no certificate" in text
    np.testing.assert_allclose(pd.read_csv("rate.csv")["contraction_rate"], 1, rtol=1e-9)


def test_contraction_in_the_euclidean_metric(flowmod):
    text = flowmod("contraction", "rosenbrock", "--metric", "euclidean", "--t1", "2", "--out", "rate.nc")
    assert "in the Euclidean metric" in text
    assert "negative for t = 0 to " in text
    with xr.open_dataset("rate.nc", engine="h5netcdf") as table:
        # By hand: x' = 1 - x and (y - x^2)' = -(y - x^2), so J = [[-1, 0], [2 - 2 x, -1]], and x = -1.2 at the start.
        symmetric = np.array([[-1, 2.2], [2.2, -1]])
        assert float(table["contraction_rate"][0]) == pytest.approx(-np.linalg.eigvalsh(symmetric)[-1])


def test_contraction_of_a_flow_without_a_metric_is_euclidean(flowmod):
    text = flowmod("contraction", "model.py:many", "--y0", "[1, 2]", "--t1", "1", "--plot", "rate.pdf")
    assert "in the Euclidean metric" in text
    assert "least 1, most 1" in text
    assert files() == ["rate.pdf"]


def test_contraction_in_another_norm(flowmod):
    words = ("contraction", "rosenbrock", "--norm", "inf")
    text = flowmod(*words, "--metric", "euclidean", "--t1", "0.5", "--out", "rate.csv")
    assert "in the Euclidean metric and its inf-norm" in text
    # The row sums of the Jacobian above: -1 and -1 + |2 - 2 x|.
    assert pd.read_csv("rate.csv")["contraction_rate"][0] == pytest.approx(1 - 4.4)
    assert "need a diagonal metric" in flowmod(*words, code=2)


# --- equilibria ---


def test_equilibria_and_barriers(flowmod):
    text = flowmod("equilibria", "toggle_switch", "--out", "points.csv")
    for number in ("0.332419", "11.708", "155.763", "0.099513", "204.751608", "0.31041689", "125.86313"):
        assert number in text
    table = pd.read_csv("points.csv")
    assert list(table["stability"]) == ["stable node", "stable node", "saddle"]
    np.testing.assert_allclose(table["eigenvalue"], [-0.912047, -0.211086, 0.186944], atol=1e-6)


@pytest.mark.slow
def test_equilibria_in_a_box(flowmod):
    text = flowmod("equilibria", "toggle_switch", "--box", "u=100:200", "--out", "points.nc", "--plot", "points.png")
    assert "1 found" in text
    assert "barrier" not in text
    with xr.open_dataset("points.nc", engine="h5netcdf") as table:
        assert float(table["u"][0]) == pytest.approx(155.7634077)
    assert "No equilibrium found" in flowmod("equilibria", "rosenbrock", "--box", "x=3:4")


# --- wrong input: exit code 2, one sentence, nothing written ---


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("simulate", "toggle"), "`TARGET` 'toggle' is no built-in model"),
        (("simulate", "model.py:none"), "`TARGET` model.py has no object 'none'"),
        (("simulate", "missing.py:flow"), "`TARGET` missing.py is not a Python file"),
        (("simulate", "toggle_switch", "--set", "a3=1"), "`--set` does not fit toggle_switch"),
        (("simulate", "toggle_switch", "--set", "a1=-1"), "`a1` must be a number > 0"),
        (("simulate", "toggle_switch", "--y0", "w=1"), "`--y0` has no entry 'w'"),
        (("simulate", "toggle_switch", "--t1", "0"), "Invalid value for '--t1'"),
        (("simulate", "toggle_switch", "--points", "1"), "Invalid value for '--points'"),
        (("simulate", "toggle_switch", "--out", "run.txt"), "`--out` must end in .csv or .nc, got run.txt."),
        (("simulate", "toggle_switch", "--plot", "run.csv"), "`--plot` must end in .png or .pdf or .svg"),
        (("simulate", "toggle_switch", "--out", "no/run.csv"), "`--out` no/run.csv can't be written"),
        (("contraction", "model.py:bowl", "--t1", "1"), "`--y0` must be given for model.py:bowl"),
        (("contraction", "model.py:bowl", "--y0", "[1.0]"), "`--t1` must be given for model.py:bowl"),
        (("equilibria", "model.py:bowl"), "`--box` must be given for model.py:bowl"),
        (("equilibria", "rosenbrock", "--box", "x=2:1"), "`box` must have finite corners, lower < upper"),
        (("demo", "--quick", "--out", "model.py"), "`--out` model.py can't be written to"),
    ],
)
def test_wrong_input(flowmod, words, sentence):
    assert flowmod(*words, code=2).startswith(sentence)
    assert files() == []


def test_an_error_in_the_users_file_names_its_line(flowmod):
    line = SOURCE.splitlines().index("shapes = fm.GradientFlow(lambda y, args: jnp.sum(y @ jnp.ones((3, 3))))") + 1
    words = ("simulate", "model.py:shapes", "--y0", "[1, 2]", "--t1", "1", "--out", "run.csv")
    assert flowmod(*words, code=2).startswith(f"model.py, line {line}: TypeError: ")
    assert files() == []


def test_a_missing_extra_names_the_command_that_installs_it(flowmod, monkeypatch):
    monkeypatch.setattr(extras.metadata, "requires", lambda name: ["no-such-library>=1; extra == 'examples'"])
    with open("needs.py", "w") as file:
        file.write("import no_such_library\n")
    assert flowmod("simulate", "needs.py:flow", code=2).endswith("pip install 'flowmod[examples]'")


def test_a_picture_of_too_large_a_state_leaves_no_table_behind(flowmod):
    start = f"[{', '.join(['1'] * 30)}]"
    words = ("simulate", "model.py:many", "--y0", start, "--t1", "1", "--out", "run.csv", "--plot", "run.png")
    assert "has 30 numbers in its state" in flowmod(*words, code=2)
    assert files() == []


def test_a_run_that_fails_on_its_way_ends_with_code_1(flowmod):
    words = ("simulate", "model.py:escape", "--y0", "x=1", "--t1", "2", "--out", "run.csv")
    sentence = flowmod(*words, code=1)
    assert sentence.startswith("The run stopped at t = 1. ")
    assert "Try: " in sentence
    assert files() == []


def test_a_bug_keeps_its_traceback(flowmod, monkeypatch):
    monkeypatch.setattr("flowmod.study.report.models_table", lambda: {}["bug"])
    with pytest.raises(KeyError, match="bug"):
        flowmod("list")


# --- as a process of its own ---


def process(*words, cwd):
    return subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("list",), 0),
        (("simulate", "toggle"), 2),
        (("simulate", "toggle_switch", "--out", "no/run.nc"), 2),
        (("demo", "--out", "file/demo"), 2),
        (("simulate",), 2),
    ],
)
def test_the_process_ends_with_the_code_and_without_a_traceback(tmp_path, words, code):
    (tmp_path / "file").write_text("")
    run = process("-m", "flowmod", *words, cwd=tmp_path)
    assert run.returncode == code
    assert "Traceback" not in run.stderr
    assert ("Error: " in run.stderr) == bool(code)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.slow
def test_the_command_computes_in_double_precision_and_an_import_changes_nothing(tmp_path):
    code = "import jax, flowmod.cli, flowmod.study; print(jax.config.read('jax_enable_x64'))"
    run = process("-c", code, cwd=tmp_path)
    assert run.stdout == "False\n", run.stderr
    process("-m", "flowmod", "simulate", "rosenbrock", "--out", "run.nc", cwd=tmp_path)
    assert fm.load(tmp_path / "run.nc").ys["x"].dtype == np.float64
