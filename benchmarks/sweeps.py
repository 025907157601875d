"""`compare` over 500 step sizes and 64 starts: 1,000 updates of gradient descent on a network 2-8-1 with 16 samples.

The Python loop is what one writes with optax: a compiled update and its loss, called once for each update. It runs some
thousands of updates, and its time for all of them is extrapolated. The hand-written program is a `vmap` of a scan over
all starts and some step sizes, mapped over the rest. It keeps the same records and is handed the flow's states, while
`compare` runs the flow too. Both make the updates of a share of the step sizes, which is given; a whole sweep takes the
time of as many shares.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import flowmod as fm
from benchmarks.timing import Row

_STEP_SIZES, _STARTS, _UPDATES, _RECORDS = 500, 64, 1000, 60
_SHARE = 100
"""Step sizes that are run, at both ends of the range and between."""
_LOOPED = 4000
_TOGETHER = 1
"""Step sizes beside each other in the hand-written program, the best of some."""


def _problem():
    inputs = np.random.default_rng(0).standard_normal((16, 2))
    targets = jnp.asarray(np.sin(inputs.sum(axis=1)))

    def loss(net, args):
        hidden = jnp.tanh(jnp.asarray(inputs, net["w"].dtype) @ net["w"].T + net["b"][None])
        return jnp.mean((hidden @ net["v"] + net["c"] - targets.astype(net["c"].dtype)) ** 2) / 2

    spread = np.random.default_rng(1).standard_normal
    shapes = {"w": (8, 2), "b": (8,), "v": (8,), "c": ()}
    return loss, {name: jnp.asarray(0.5 * spread((_STARTS, *shape))) for name, shape in shapes.items()}


def _loop(loss, nets, step_size: float) -> float:
    """Seconds of an update in a Python loop."""
    optimizer = optax.sgd(step_size)

    @jax.jit
    def update(net, state):
        value, gradient = jax.value_and_grad(loss)(net, None)
        changes, state = optimizer.update(gradient, state, net)
        return optax.apply_updates(net, changes), state, value

    net = jax.tree.map(lambda leaf: leaf[0], nets)
    state, losses = optimizer.init(net), []
    net, state, _ = update(net, state)
    started = time.perf_counter()
    for count in range(_LOOPED):
        net, state, value = update(net, state)
        if count % (_UPDATES // _RECORDS) == 0:
            losses.append(float(value))
    jax.block_until_ready(net)
    return (time.perf_counter() - started) / _LOOPED


@jax.jit
def _handwritten(nets, step_sizes, path, updates):
    """Losses and distances (step sizes, starts, 61) for flow states (step sizes, starts, 61, ...)."""
    loss, _ = _problem()

    def one(net, step_size, along):
        def until(net, record):
            first, last, there = record

            def update(_, net):
                gradient = jax.grad(loss)(net, None)
                return jax.tree.map(lambda leaf, slope: leaf - step_size * slope, net, gradient)

            net = jax.lax.fori_loop(first, last, update, net)
            apart = sum(jnp.sum((a - b) ** 2) for a, b in zip(*map(jax.tree.leaves, (net, there)), strict=True))
            return net, (loss(net, None), loss(there, None), jnp.sqrt(apart))

        return jax.lax.scan(until, net, (jnp.concatenate([updates[:1], updates[:-1]]), updates, along))[1]

    over_starts = jax.vmap(one, in_axes=(0, None, 0))
    return jax.lax.map(lambda point: over_starts(nets, *point), (step_sizes, path), batch_size=_TOGETHER)


def measure() -> list[Row]:
    jax.config.update("jax_enable_x64", True)
    loss, nets = _problem()
    flow = fm.GradientFlow(loss)
    step_sizes = np.geomspace(0.01, 0.1, _STEP_SIZES)
    some = step_sizes[np.linspace(0, _STEP_SIZES - 1, _SHARE).round().astype(int)]
    t1 = _UPDATES * some[0]
    optimizers = {"sgd": optax.sgd}

    def ours():
        return fm.compare(flow, optimizers, nets, some, t1, starts=True, updates=_UPDATES)

    table = ours()
    flows = fm.ensemble(flow, nets, ts=np.unique(table["flow_time"]), rtol=1e-9, atol=1e-12)
    rows = np.searchsorted(flows.ts, table["flow_time"].values)
    path = jax.tree.map(lambda leaf: jnp.asarray(leaf[:, rows].swapaxes(0, 1)), flows.ys)
    operands = nets, jnp.asarray(some), path, jnp.asarray(table["update"].values[0])
    _, _, distance = jax.block_until_ready(_handwritten(*operands))
    np.testing.assert_allclose(distance.swapaxes(0, 1), table["distance"][0], rtol=1e-6, atol=1e-8)
    seconds = np.empty((2, 3))
    for repeat in range(3):
        for side, call in enumerate((ours, lambda: jax.block_until_ready(_handwritten(*operands)))):
            started = time.perf_counter()
            call()
            seconds[side, repeat] = time.perf_counter() - started
    mine, hand = np.median(seconds, axis=1)
    looped = _loop(loss, nets, float(some[0]))
    return _rows(mine, hand, looped)


def _rows(mine: float, hand: float, looped: float) -> list[Row]:
    updates = _SHARE * _STARTS * _UPDATES
    whole = _STEP_SIZES / _SHARE
    sizes = f"{_STEP_SIZES} x {_STARTS} x {_UPDATES}"
    loop = looped * updates
    return [
        Row(
            f"{sizes}: times faster than a Python loop over optax",
            f"{loop / mine:.0f} x ({whole * mine:.3g} s against {whole * loop:.0f} s; {_SHARE} of {_STEP_SIZES} step "
            f"sizes run, {_LOOPED} updates of the loop, {1e6 * looped:.1f} us each)",
            ">= 50 x",
            loop >= 50 * mine,
        ),
        Row(
            f"{sizes}: against a hand-written vmap of a scan, which is handed the flow",
            f"{mine / hand:.2f} x ({mine:.3g} s against {hand:.3g} s for {_SHARE} of the step sizes)",
            "<= 2 x",
            mine <= 2 * hand,
        ),
    ]
