"""A whole step in the layerwise metric against those of other libraries, where they are installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp

import flowmod as fm
from benchmarks.cases import digits, digits_problem
from benchmarks.comparators.plain import plain_weights
from benchmarks.timing import Row, interleaved

_MASS = 1e-2
_COUNT = 128


def _ours(metric_of, **settings):
    net, problem = digits_problem(_COUNT, dtype=jnp.float32)
    metric = metric_of(problem, mass=_MASS, **settings)

    @jax.jit
    def step(net):
        value, _, vector = fm.steepest_descent(problem, metric, net)
        return eqx.apply_updates(net, jax.tree.map(lambda v: 0.0 * v, vector)), value

    return lambda: jax.block_until_ready(step(net))


def _kfac_jax() -> list[Row]:
    if importlib.util.find_spec("kfac_jax") is None:
        return [Row("against kfac-jax", "kfac-jax is not installed: the extra `comparators` has it", "", True)]
    from benchmarks.comparators.kfac import kfac_step

    net, _ = digits_problem(_COUNT, dtype=jnp.float32)
    batch = digits(_COUNT, dtype=jnp.float32)
    steps = {
        "layerwise, auto": _ours(fm.LayerwiseMetric.of),
        "layerwise to 1e-3": _ours(fm.LayerwiseMetric.of, tolerance=1e-3),
        "per-sample": _ours(fm.PerSampleMetric.of),
        "exact Fisher": kfac_step(plain_weights(net), batch, _MASS, 1),
        "inverse every 5": kfac_step(plain_weights(net), batch, _MASS, 5),
        "sampled Fisher": kfac_step(plain_weights(net), batch, _MASS, 1, "fisher_gradients"),
    }
    seconds = dict(zip(steps, interleaved(*steps.values(), repeats=21), strict=True))
    rows = []
    limits = {"layerwise, auto": 3.0, "layerwise to 1e-3": 3.0, "per-sample": 0.5}
    for name, limit in limits.items():
        ours = seconds[name]
        for base in ("exact Fisher", "inverse every 5", "sampled Fisher"):
            wanted = limit if base == "exact Fisher" else None
            shown = f"{ours / seconds[base]:.2f} x ({1e3 * ours:.3g} ms against {1e3 * seconds[base]:.3g} ms)"
            met = wanted is None or ours <= wanted * seconds[base]
            what = f"softmax, f32, N = {_COUNT}, step, {name}, against kfac-jax, {base}"
            rows.append(Row(what, shown, f"<= {wanted} x" if wanted else "", met))
    return rows


def _curvlinops() -> list[Row]:
    """In a process of its own, with the interpreter that `CURVLINOPS_PYTHON` names, or this one."""
    python = os.environ.get("CURVLINOPS_PYTHON", sys.executable)
    script = Path(__file__).parent / "comparators" / "curvlinops_kfac.py"
    done = subprocess.run([python, str(script)], capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        return [Row("curvlinops' KFAC in a process of its own", f"not measured: {reason[0]}", "", True)]
    rows = []
    for line in done.stdout.splitlines():
        name, seconds = line.split("\t")
        rows.append(Row(f"curvlinops' KFAC, {name}: build, inverse and product", f"{float(seconds):.3g} ms", "", True))
    return rows


def measure() -> list[Row]:
    jax.config.update("jax_enable_x64", True)
    return [*_kfac_jax(), *_curvlinops()]
