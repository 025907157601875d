"""What a progress bar costs on a run of seconds."""

import contextlib
import io

import jax
import jax.numpy as jnp

import flowmod as fm
from benchmarks.timing import Row, interleaved, ratio


def measure() -> list[Row]:
    jax.config.update("jax_enable_x64", True)
    n = 100
    matrix = jnp.diag(jnp.linspace(1.0, 50.0, n)) + 0.1 * jax.random.normal(jax.random.key(0), (n, n))
    flow = fm.VectorField(lambda t, y, args: -jnp.tanh(matrix @ y) + jnp.sin(30 * t))

    def run(progress):
        with contextlib.redirect_stdout(io.StringIO()):
            return fm.simulate(flow, jnp.ones(n), 600.0, progress=progress)

    shown, quiet = interleaved(lambda: run(True), lambda: run(False), repeats=5)
    return [ratio("progress=True against False", shown, quiet, 1.02)]
