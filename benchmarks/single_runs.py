"""`simulate` against the same `diffrax.diffeqsolve`, jitted: same term, solver, tolerances and saved times."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import flowmod as fm
from benchmarks.timing import Row, excess, interleaved, ratio


@eqx.filter_jit
def _diffrax(flow, y0, t1, ts):
    saveat = diffrax.SaveAt(t0=True, steps=True) if ts is None else diffrax.SaveAt(ts=ts)
    controller = diffrax.PIDController(rtol=1e-6, atol=1e-9)
    solution = diffrax.diffeqsolve(
        flow, diffrax.Tsit5(), 0.0, t1, None, y0, saveat=saveat, stepsize_controller=controller, throw=False
    )
    return solution.ts, solution.ys


def _network_flow():
    """A flow of 9,300 weights in the Euclidean metric: the field is all the work."""
    net = eqx.nn.MLP(8, 4, 64, 3, activation=jnp.tanh, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (256, 8))
    arrays, rest = eqx.partition(net, eqx.is_inexact_array)

    def loss(arrays, args):
        return jnp.mean((jax.vmap(eqx.combine(arrays, rest))(x) - jnp.sin(x[:, :4])) ** 2)

    return fm.GradientFlow(loss), arrays, 20.0


def _dense_flow(n: int = 100):
    """A dense state-dependent metric: a Cholesky factorisation at every evaluation."""
    basis = jax.random.normal(jax.random.key(2), (n, n)) / n**0.5

    def metric(y, args):
        scaled = basis * (1 + y**2)[:, None]
        return scaled.T @ scaled + jnp.eye(n)

    return fm.GradientFlow(lambda y, args: jnp.sum(jnp.cosh(y)), fm.DenseMetric(metric)), jnp.linspace(-1, 1, n), 10.0


def measure() -> list[Row]:
    jax.config.update("jax_enable_x64", True)
    rows = []
    cases = {
        "toggle switch": ((fm.bio.toggle_switch(156.25, 15.6, 2.5, 1.0), {"u": 1.0, "v": 8.0}, 20.0), 300),
        "dense metric, 100-D": (_dense_flow(), 15),
        "network, 9,300 weights": (_network_flow(), 9),
    }
    for name, ((flow, y0, t1), repeats) in cases.items():
        y0 = jax.tree.map(jnp.asarray, y0)
        for saved, ts in (("every step", None), ("50 times", np.linspace(0, t1, 50))):
            ours, base = interleaved(
                lambda: fm.simulate(flow, y0, t1, ts=ts),  # noqa: B023 - called at once
                lambda: jax.block_until_ready(_diffrax(flow, y0, t1, ts)),  # noqa: B023
                repeats=repeats,
            )
            what = f"{name}, {saved}"
            rows.append(ratio(what, ours, base, 1.05) if base > 0.01 else excess(what, ours, base, 150e-6))
    return rows
