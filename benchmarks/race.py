"""How many steps, and how long, to a training loss of 1e-3 on digits: Euler steps in our metrics, Adam and SGD.

The network, 64-128-128-10 with `tanh`, trains on 1,437 images in single precision. Adam and SGD each have the best of
12 learning rates from 1e-4 to 1 at 2 batch sizes. Ours have a mass in proportion to the loss of the batch, as
Levenberg and Marquardt let the damping fall, the best of 5 proportions, and in each step the step size, of 8, that
lowers the loss of the batch most: the overshoot of the layers and the slow end of a cross-entropy are both met by it.
"""

import dataclasses
import math
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import flowmod as fm
from benchmarks.cases import cast, digits
from benchmarks.timing import Row
from tests.networks import tanh_network

_COUNT = 1437
_GOAL = 1e-3
_RATES = np.geomspace(1e-4, 1.0, 12)
_STEP_SIZES = (1 / 4, 3 / 8, 1 / 2, 3 / 4, 1.0, 3 / 2, 2.0, 3.0)
_MASSES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
_INNER = 1e-3
"""Relative residual of the inner solves."""


@dataclasses.dataclass(frozen=True)
class Finish:
    """A run that reached the goal: its steps, and its seconds with everything compiled."""

    name: str
    steps: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.steps} steps, {self.seconds:.2g} s ({self.name})"


class FirstOrder:
    """An optimizer of optax, made anew for each learning rate."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def init(self, net):
        return self.optimizer(0.0).init(net)

    def step(self, problem, net, memory, batch, rate):
        slope = jax.grad(problem)(net, batch)
        change, memory = self.optimizer(rate).update(slope, memory, net)
        return eqx.apply_updates(net, change), memory


class Descent:
    """A step in a metric whose mass is a multiple of the loss, to the lowest of the losses along it."""

    def __init__(self, metric_of):
        self.metric_of = metric_of

    def init(self, net):
        return ()

    def step(self, problem, net, memory, batch, proportion):
        mass = proportion * problem(net, batch)
        metric = self.metric_of(problem, mass=mass, tolerance=_INNER)
        vector = fm.steepest_descent(problem, metric, net, batch)[2]

        def moved(step_size):
            return eqx.apply_updates(net, jax.tree.map(lambda v: step_size * v, vector))

        sizes = jnp.asarray(_STEP_SIZES, jnp.float32)
        losses = jax.lax.map(lambda size: problem(moved(size), batch), sizes)
        return moved(sizes[jnp.nanargmin(losses)]), memory


def runner(method, net, batch_size: int, every: int):
    """`run(net, setting, most) -> steps, loss`, compiled: steps until the goal, looked at every so many of them.

    A batch has all images, or images drawn without repetition until the loss is looked at again.
    """
    images, labels = digits(_COUNT, dtype=jnp.float32)
    problem = fm.Supervised(net, fm.SoftmaxCrossEntropy())

    def batch_of(order, index):
        places = jax.lax.dynamic_slice(order, (index * batch_size,), (batch_size,))
        return images[places], labels[places]

    @jax.jit
    def run(net, setting, most):
        def unfinished(carry):
            _, _, steps, loss = carry
            return (steps < most) & (loss > _GOAL) & jnp.isfinite(loss)

        def some(carry):
            net, memory, steps, _ = carry
            order = jax.random.permutation(jax.random.fold_in(jax.random.key(0), steps), _COUNT)

            def one(index, state):
                batch = (images, labels) if batch_size == _COUNT else batch_of(order, index)
                return method.step(problem, *state, batch, setting)

            net, memory = jax.lax.fori_loop(0, every, one, (net, memory))
            return net, memory, steps + every, problem(net, (images, labels))

        start = (net, method.init(net), jnp.asarray(0), problem(net, (images, labels)))
        _, _, steps, loss = jax.lax.while_loop(unfinished, some, start)
        return steps, loss

    return run


def best(name: str, method, settings, batch_size: int, every: int, most: int) -> Finish | None:
    """The run with the fewest steps. A run that falls behind the best one so far is given up."""
    net = cast(tanh_network(64, 128, 128, 10), jnp.float32)
    run, found = runner(method, net, batch_size, every), None
    jax.block_until_ready(run(net, settings[0], 0))
    for setting in settings:
        started = time.perf_counter()
        steps, loss = map(float, jax.block_until_ready(run(net, setting, most)))
        seconds = time.perf_counter() - started
        if loss <= _GOAL and (found is None or steps < found.steps):
            shown = ", ".join(f"{part:.3g}" for part in np.atleast_1d(setting))
            found = Finish(f"{name} {shown}, batch {batch_size}", int(steps), seconds)
            most = found.steps
    return found


def _shown(what: str, finish: Finish | None) -> Row:
    return Row(what, "not within its limit of steps" if finish is None else str(finish), "", True)


def measure() -> list[Row]:
    jax.config.update("jax_enable_x64", True)
    rows, first_order, ours = [], [], []
    rates = [jnp.asarray(rate, jnp.float32) for rate in _RATES[::-1]]
    for name, optimizer in (("adam", optax.adam), ("sgd", optax.sgd)):
        for batch_size, every, most in ((64, 20, 5_000), (_COUNT, 1, 1_000)):
            finish = best(name, FirstOrder(optimizer), rates, batch_size, every, most)
            rows.append(_shown(f"{name}, batch {batch_size}, best of 12 rates", finish))
            first_order.append(finish)
    masses = [jnp.asarray(mass, jnp.float32) for mass in _MASSES]
    for name, metric_of in (("layerwise", fm.LayerwiseMetric.of), ("full", fm.FullMetric.of)):
        for batch_size in (512, _COUNT):
            finish = best(name, Descent(metric_of), masses, batch_size, 1, 100)
            rows.append(_shown(f"{name}, batch {batch_size}, best of 5 masses", finish))
            ours.append(finish)
    fewest, base = (min((f for f in all if f), key=lambda f: f.steps) for all in (ours, first_order))
    soonest, base_time = (min((f for f in all if f), key=lambda f: f.seconds) for all in (ours, first_order))
    times = base.steps / fewest.steps
    what = "64-128-128-10 on 1,437 digits to a loss of 1e-3: fewer steps"
    rows.append(Row(what, f"{times:.1f} x: {fewest} against {base}", ">= 10 x", times >= 10))
    rows.append(Row("the same in wall time", f"{soonest} against {base_time}", "", math.isfinite(soonest.seconds)))
    return rows
