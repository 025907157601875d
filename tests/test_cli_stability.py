"""`flowmod stability`: the limits of methods and the fates of runs, on the terminal, as a table and as a picture."""

import os

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from flowmod.study import literals

SOURCE = """
import jax.numpy as jnp
import flowmod as fm

bowl = fm.GradientFlow(lambda y, args: jnp.sum(jnp.array([1.0, 4.0]) * y**2) / 2)
field = fm.VectorField(lambda t, y, args: -y)
"""
BOWL = ("stability", "model.py:bowl", "--y0", "[1, 2]", "--t1", "1")


def files():
    return sorted(set(os.listdir()) - {"model.py", "__pycache__"})


def test_it_prints_the_limits_of_methods_and_the_fates_over_the_steps(flowmod):
    text = flowmod(*BOWL, "--steps", "0.3:0.6:3", "--out", "s.csv", "--plot", "s.png")
    # the largest curvature is 4: what a method bears over 4
    for row in (
        ("euler", "0.5"),
        ("rk4", "0.696323"),
        ("heavy_ball, momentum 0.9", "0.95"),
        ("implicit_euler", "none"),
    ):
        assert any(all(word in line for word in row) for line in text.splitlines()), row
    assert "converged" in text
    assert "diverged" in text
    assert files() == ["s.csv", "s.png"]
    table = pd.read_csv("s.csv")
    assert len(table) == 3 * 128
    np.testing.assert_allclose(table["predicted_limit"], 0.5)
    np.testing.assert_allclose(table.groupby("step_size")["growth"].first(), [0.7, 4 * 0.18**0.5 - 1, 1.4], rtol=1e-3)


@pytest.mark.slow
def test_with_momentum_it_is_a_map(flowmod):
    text = flowmod(*BOWL, "--steps", "0.3:1.2:4", "--momentum", "0:0.8:3", "--out", "s.nc", "--plot", "s.png")
    assert "comes to rest up to" in text
    with xr.open_dataset("s.nc", engine="h5netcdf") as table:
        assert dict(table.sizes) == {"step_size": 4, "momentum": 3}
        np.testing.assert_allclose(table["predicted_limit"], [0.5, 0.7, 0.9], rtol=1e-9)
        rest = table["fate"].isin(["converged", "converging"])
        np.testing.assert_array_equal(rest, table["step_size"] < table["predicted_limit"])
    assert files() == ["s.nc", "s.png"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "Missing option '--steps'"),
        (("--steps", "1:2"), "`--steps` must be like --steps 1e-3:1:12 (low:high:count), got"),
        (("--steps", "0.1:1:3", "--momentum", "0:1:3"), "`--momentum` must have 0 <= low < high < 1 and a count of at"),
        (
            ("--steps", "0.1:1:3", "--momentum", "0.9"),
            "`--momentum` must be like --momentum 0:0.95:20 (low:high:count)",
        ),
        (("--steps", "0.1:1:3", "--out", "c.txt"), "`--out` must end in .csv or .nc"),
    ],
)
def test_wrong_input(flowmod, words, sentence):
    assert flowmod(*BOWL, *words, code=2).startswith(sentence)
    assert files() == []


def test_a_flow_without_a_potential_has_no_limit(flowmod):
    words = ("stability", "model.py:field", "--y0", "[1, 2]", "--t1", "1", "--steps", "0.1:1:3")
    assert flowmod(*words, code=2).startswith("`flow` must be a gradient flow, got VectorField")


def test_momenta_are_evenly_spaced():
    np.testing.assert_allclose(literals.fractions("--momentum", "0:0.9:4"), [0, 0.3, 0.6, 0.9])
