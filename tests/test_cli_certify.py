"""The commands `certify` and `verify`: their answers, files and exit codes."""

import json
import os
from pathlib import Path

SOURCE = """
import jax.numpy as jnp
import flowmod as fm

sink = fm.VectorField(lambda t, y, args: {"x": -y["x"], "y": -2 * y["y"] + 0.5 * y["x"]})
forced = fm.VectorField(lambda t, y, args: {"x": -y["x"] + 0.1 * jnp.sin(t) * y["x"]})
rounded = fm.VectorField(lambda t, y, args: {"x": -jnp.round(y["x"])})
"""

BOX = ("--box", "x=-1:1", "--box", "y=-1:1")


def test_certify_and_verify(flowmod):
    text = flowmod("certify", "model.py:sink", *BOX, "--invariant", "--out", "sink.json")
    assert text.startswith("proved: all trajectories approach each other at a rate of at least 0.94")
    assert "Trajectories that start in the box stay in it" in text
    assert flowmod("verify", "sink.json").startswith("verified: proved")
    path = Path("sink.json")
    data = json.loads(path.read_text())
    data["claim"]["rate"] *= 1.05
    path.write_text(json.dumps(data))
    assert "claim: this part was changed" in flowmod("verify", "sink.json", code=1)


def test_norms_and_times(flowmod):
    assert "the norm infinity" in flowmod("certify", "model.py:sink", *BOX, "--norm", "inf")
    assert "for t in [0, 6.28]" in flowmod("certify", "model.py:forced", "--box", "x=-1:1", "--t", "0:6.28")
    assert "`t` must be given" in flowmod("certify", "model.py:forced", "--box", "x=-1:1", code=2)


def test_what_is_not_proved_has_exit_code_1_and_a_file(flowmod):
    box = ("--box", "u=1.2:1.4", "--box", "v=6.5:7.0")
    message = flowmod("certify", "toggle_switch", *box, "--metric", "euclidean", "--out", "saddle.json", code=1)
    assert message == "no rate is proved: disproved."
    assert flowmod("verify", "saddle.json").startswith("verified: disproved")
    message = flowmod("certify", "model.py:sink", "--box", "x=0.5:1", "--box", "y=-1:1", "--invariant", code=1)
    assert message == "the rate is proved, but that the box is invariant is disproved."


def test_wrong_input_is_one_sentence(flowmod):
    assert "`round` at" in flowmod("certify", "model.py:rounded", "--box", "x=-1:1", code=2)
    assert "must end in .json" in flowmod("certify", "model.py:sink", *BOX, "--out", "sink.csv", code=2)
    assert "`--box` must be given" in flowmod("certify", "model.py:sink", code=2)
    assert "can't be read" in flowmod("verify", "none.json", code=2)
    assert "`--t` must be like" in flowmod("certify", "model.py:sink", *BOX, "--t", "now", code=2)
    assert not [name for name in os.listdir() if name.endswith(".csv")]
