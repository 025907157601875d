"""Factorisations that run at once can stop a machine with two cores for ever: a process of its own is timed."""

import subprocess
import sys

import pytest

PROGRAM = """
import jax
import jax.numpy as jnp
import flowmod as fm
from tests.networks import classification

jax.config.update("jax_enable_x64", True)
net, problem = classification(count=32, sizes=(16, 16, 16, 16, 10))
covector = jax.grad(problem)(net)
masses = jnp.geomspace(1e-3, 1.0, 10)


@jax.jit
def solves(covector):
    def one(total, mass):
        metric = fm.LayerwiseMetric.of(problem, mass=mass, solver="direct")
        return total + metric.norm(net, metric.sharp(net, covector)), None

    return jax.lax.scan(one, 0.0, masses)[0]


for _ in range(1000):
    total = solves(covector)
print(float(total))
"""


def run(program, seconds):
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=True).stdout


@pytest.mark.slow
def test_a_scan_of_ten_solves_of_four_layers_ends_a_thousand_times():
    assert float(run(PROGRAM, 300)) > 0


def test_a_program_that_does_not_end_would_be_noticed():
    with pytest.raises(subprocess.TimeoutExpired):
        run("import time; time.sleep(60)", 0.5)
