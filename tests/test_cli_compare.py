"""`flowmod compare`: optimizers beside a flow, on the terminal, as a table and as a picture."""

import os

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import flowmod as fm
from flowmod.study import literals
from flowmod.study.optimizers import OPTIMIZERS

SOURCE = """
import jax.numpy as jnp
import flowmod as fm

bowl = fm.GradientFlow(lambda y, args: jnp.sum(jnp.array([1.0, 4.0]) * y**2) / 2)
field = fm.VectorField(lambda t, y, args: -y)
"""
BOWL = ("compare", "model.py:bowl", "--y0", "[1, 2]", "--t1", "1")


def files():
    return sorted(set(os.listdir()) - {"model.py", "__pycache__"})


def test_it_prints_fates_orders_and_limits(flowmod):
    chosen = ("euler", "heavy_ball", "sgd", "momentum", "adam")
    names = [word for name in chosen for word in ("--optimizer", name)]
    text = flowmod(*BOWL, *names, "--steps", "1e-3:1:8", "--out", "c.nc", "--plot", "c.png")
    for word in (*chosen, "converging", "diverged", "unknown", "0.5"):
        assert word in text
    assert files() == ["c.nc", "c.png"]
    with xr.open_dataset("c.nc", engine="h5netcdf") as table:
        assert list(table["optimizer"].values) == list(chosen)
        np.testing.assert_allclose(table["step_size"], np.geomspace(1e-3, 1, 8))
        # The bowl is flat: Euler's step is plain gradient descent, and both know the limit 2/4. That of a heavy ball is
        # 2 (1 + 0.9) / 4, of a step size that is multiplied by 0.1.
        np.testing.assert_allclose(table["predicted_limit"], [0.5, 9.5, 0.5, 9.5, np.nan], rtol=1e-9)
        np.testing.assert_allclose(table["order"][[0, 2]], 1, atol=0.05)
        # Momentum keeps the flow's time: it approaches the flow, and Adam does not.
        error = table["error"].sel(optimizer=["momentum", "adam"])[:, 0]
        assert error[0] < 0.1 < error[1]


def test_a_table_has_a_row_for_each_record(flowmod):
    words = ("--y0", "[0, 0]", "--t1", "1", "--optimizer", "sgd", "--steps", "0.01:0.1:2", "--out", "c.csv")
    # A start that tells nothing is named below the tables.
    assert "The start is already at a critical point" in flowmod("compare", "model.py:bowl", *words)
    table = pd.read_csv("c.csv")
    assert len(table) == 2 * 61
    assert {"optimizer", "step_size", "flow_time", "update", "loss", "distance", "fate", "order"} <= set(table)


def test_methods_of_flows_go_by_their_names_and_momentum_keeps_the_time():
    def bowl(y, args):
        return jnp.sum(y**2) / 2

    flow = fm.GradientFlow(bowl, fm.HessianMetric(bowl))
    own = [name for name in OPTIMIZERS if name not in ("sgd", "momentum", "adam")]
    made = {name: OPTIMIZERS[name](flow)(0.01) for name in own}
    assert {"euler", "rk4", "implicit_euler", "geodesic", "mirror", "heavy_ball", "nesterov"} <= set(made)
    for name, optimizer in made.items():
        assert optimizer.method == name
        step = 0.01 if optimizer.momentum is None else 0.01 * (1 - optimizer.momentum)
        assert optimizer.step_size == pytest.approx(step)


@pytest.mark.slow
def test_a_model_that_integrates_its_right_hand_side_is_discretised_by_its_potential(flowmod):
    words = ("compare", "toggle_switch", "--optimizer", "euler", "--steps", "0.005:0.05:4", "--out", "c.nc")
    flowmod(*words, "--y0", "u=3", "--t1", "2")
    with xr.open_dataset("c.nc", engine="h5netcdf") as table:
        assert float(table["order"][0]) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--optimizer", "sgd", "--steps", "1:2"), "`--steps` must be like --steps 1e-3:1:12 (low:high:count), got"),
        (("--optimizer", "sgd", "--steps", "a:b:c"), "`--steps` must be like"),
        (("--optimizer", "sgd", "--steps", "0:1:3"), "`--steps` must have 0 < low < high"),
        (("--optimizer", "sgd", "--steps", "1:0.1:3"), "`--steps` must have 0 < low < high"),
        (("--optimizer", "sgd", "--steps", "0.1:1:1"), "`--steps` must have 0 < low < high and a count of at least 2"),
        (("--optimizer", "sgd", "--steps", "nan:1:3"), "`--steps` must have 0 < low < high"),
        (("--optimizer", "sgdd", "--steps", "0.1:1:3"), "Invalid value for '--optimizer'"),
        (("--steps", "0.1:1:3"), "Missing option '--optimizer'"),
        (("--optimizer", "sgd"), "Missing option '--steps'"),
        (("--optimizer", "sgd", "--steps", "0.1:1:3", "--out", "c.txt"), "`--out` must end in .csv or .nc"),
    ],
)
def test_wrong_input(flowmod, words, sentence):
    assert flowmod(*BOWL, *words, code=2).startswith(sentence)
    assert files() == []


def test_a_flow_without_a_potential_is_no_loss(flowmod):
    words = ("compare", "model.py:field", "--y0", "[1, 2]", "--t1", "1", "--optimizer", "euler", "--steps", "0.1:1:3")
    assert flowmod(*words, code=2).startswith("`flow` must have a potential, the loss of the optimizers")


def test_help(flowmod):
    assert "LOW:HIGH:COUNT" in flowmod("compare", "--help")


def test_steps_have_equal_ratios():
    np.testing.assert_allclose(literals.steps("--steps", "1e-2:1:3"), [0.01, 0.1, 1])
