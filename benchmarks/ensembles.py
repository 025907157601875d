"""`ensemble` of 10,000 planar starts against the better of `vmap` and chunked `lax.map`.

The baselines map the same run, energy ledger included; the rows "without ledger" map a bare `diffrax.diffeqsolve`.
"""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import flowmod as fm
from benchmarks.timing import Row, interleaved, ratio

_MEMBERS = 10_000


def _bare(flow, y0, ts):
    controller = diffrax.PIDController(rtol=1e-6, atol=1e-9)
    saveat = diffrax.SaveAt(ts=ts)
    return diffrax.diffeqsolve(
        flow, diffrax.Tsit5(), ts[0], ts[-1], None, y0, saveat=saveat, stepsize_controller=controller, throw=False
    ).ys


def _with_ledger(flow, y0, ts):
    run = fm.simulate(flow, y0, ts=ts)
    return run.ys, run.dissipated


def _mappings(run):
    vmap = eqx.filter_jit(lambda flow, y0s, ts: jax.vmap(lambda y0: run(flow, y0, ts))(y0s))
    chunks = eqx.filter_jit(lambda flow, y0s, ts: jax.lax.map(lambda y0: run(flow, y0, ts), y0s, batch_size=100))
    return vmap, chunks


def measure() -> list[Row]:
    jax.config.update("jax_enable_x64", True)
    flow = fm.bio.toggle_switch(156.25, 15.6, 2.5, 1.0)
    spread = np.random.default_rng(0)
    y0s = {"u": jnp.asarray(spread.uniform(0.05, 20, _MEMBERS)), "v": jnp.asarray(spread.uniform(0.05, 15, _MEMBERS))}
    mappings = [*_mappings(_with_ledger), *_mappings(_bare)]
    rows = []
    for count in (2, 101):
        ts = jnp.linspace(0.0, 20.0, count)
        calls = [lambda f=f, ts=ts: jax.block_until_ready(f(flow, y0s, ts)) for f in mappings]
        ours, *bases = interleaved(lambda ts=ts: fm.ensemble(flow, y0s, ts=ts), *calls, repeats=7)
        for what, pair in (("", bases[:2]), (", baseline without ledger", bases[2:])):
            named = f"10,000 toggle switches, {count} times{what} (vmap {pair[0]:.2f} s, chunks {pair[1]:.2f} s)"
            rows.append(ratio(named, ours, min(pair), 1.1))
    return rows
