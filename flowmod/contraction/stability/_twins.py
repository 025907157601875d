"""Runs on one number of samples: one on unchanged data, and a twin for each sample that changes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..._results import RESULTS
from ..._tree import combine, dot, dtype_of, floats, size
from ..._typing import State
from ...flow import AbstractFlow, VectorField
from ...simulate import SimulationError, simulate
from ..jacobian import default_metric
from ._leave_out import rescaled
from ._samples import Samples

_BATCH = 1000
"""Numbers of all twins that advance together, as in an ensemble."""


class Method(NamedTuple):
    """How the runs are made: with arguments of `simulate`, or by so many steps of Euler's method."""

    options: dict[str, Any]
    step_size: Any = None
    steps: int = 0


class Problem(NamedTuple):
    """What all runs have in common."""

    flow: AbstractFlow
    y0: State
    pool: Samples
    probes: Samples
    loss: Callable
    predict: Callable | None
    t1: Any
    method: Method


class Rung(NamedTuple):
    """What is kept of the twins of one number of samples: see `StabilityLadder`."""

    loss: Float[Array, "twins probes"]
    prediction: Float[Array, "twins probes"] | None
    distance: Float[Array, " twins"]
    parameters: Float[Array, " twins"]
    length: Float[Array, " twins"]
    """The largest number of the state at the end on unchanged data: what a relative error is relative to."""


def rung(problem: Problem, rows: Int[np.ndarray, " n"], fresh: Int[np.ndarray, " twins"] | None, twins: int) -> Rung:
    """The first `twins` of the samples `rows` of the pool, changed one at a time.

    Args:
        problem: what all runs have in common.
        rows: which samples of the pool are the data.
        fresh: which ones take the places of the first ones; left out for `None`.
        twins: how many are changed.

    Raises:
        SimulationError: if a run of the flow fails.
        RuntimeError: if Euler's method does not end in finite numbers.
    """
    n = len(rows)
    if fresh is None:
        changed = np.stack([np.delete(rows, twin) for twin in range(twins)])
        other = problem._replace(flow=rescaled(problem.flow, (n - 1) / n))
        parts = ((problem, rows[None]), (other, changed))
    else:
        changed = np.tile(rows, (twins, 1))
        changed[np.arange(twins), np.arange(twins)] = fresh[:twins]
        parts = ((problem, np.concatenate([rows[None], changed])),)
    ends = []
    for part, data in parts:
        end, arrived = _run_all(part, data)
        for index in np.flatnonzero(~np.asarray(arrived))[:1]:
            raise _failure(part, data[index], n, len(ends) + index)
        ends.append(end)
    end = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *ends)
    return jax.tree.map(np.asarray, _compare(problem, rows, end))


def _data(problem: Problem, rows: Any) -> Samples:
    return jax.tree.map(lambda leaf: leaf[rows], problem.pool)


@eqx.filter_jit
def _run_all(problem: Problem, rows: Int[Array | np.ndarray, "runs n"]) -> tuple[State, Array]:
    """The float leaves of each run's end, and whether it came to it."""
    end_of = _flow_end if problem.method.step_size is None else _euler_end

    def one(rows):
        end, arrived = end_of(problem, _data(problem, rows))
        finite = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(end)])
        return end, arrived & jnp.all(finite)

    # In equal batches: a remainder would be compiled as a program of its own.
    runs = len(rows)
    batches = -(-runs // max(_BATCH // size(problem.y0), 1))
    batch = -(-runs // batches)
    filled = jnp.minimum(jnp.arange(batches * batch), runs - 1).reshape(batches, batch)
    out = jax.lax.map(lambda chosen: jax.vmap(one)(rows[chosen]), filled)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:runs], out)


def _flow_end(problem: Problem, data: Samples) -> tuple[State, Any]:
    # Without its potential the flow has no ledger to carry along.
    flow, end = VectorField(problem.flow.vector_field), jnp.asarray(problem.t1)[None]
    # Nobody takes a derivative of it, and a plain loop is compiled faster.
    run = simulate(flow, problem.y0, ts=end, args=data, adjoint=diffrax.ForwardMode(), **problem.method.options)
    return jax.tree.map(lambda leaf: leaf[-1], floats(run.ys)), run.result < RESULTS.max_steps_reached


def _euler_end(problem: Problem, data: Samples) -> tuple[State, Any]:
    h = jnp.asarray(problem.method.step_size, dtype_of(problem.y0))

    def step(k, leaves):
        velocity = problem.flow.vector_field(k.astype(h.dtype) * h, combine(leaves, problem.y0), data)
        return jax.tree.map(lambda leaf, v: leaf + h.astype(leaf.dtype) * v, leaves, velocity)

    start = jax.tree.map(jnp.asarray, floats(problem.y0))
    return jax.lax.fori_loop(0, problem.method.steps, step, start), True


@eqx.filter_jit
def _compare(problem: Problem, rows: Int[Array | np.ndarray, " n"], ends: State) -> Rung:
    flow, y0 = problem.flow, problem.y0
    base = jax.tree.map(lambda leaf: leaf[0], ends)
    metric = default_metric(flow, y0, None).at(problem.t1)
    data = _data(problem, rows)

    def at_probes(fn, leaves):
        return jax.vmap(lambda probe: fn(flow.position(combine(leaves, y0)), probe))(problem.probes)

    loss = at_probes(problem.loss, base)
    output = None if problem.predict is None else at_probes(problem.predict, base)
    length = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)).astype(loss.dtype) for leaf in jax.tree.leaves(base)]))

    def one(end):
        difference = jax.tree.map(jnp.subtract, end, base)
        prediction = None
        if output is not None:
            moved = (at_probes(problem.predict, end) - output).reshape(len(output), -1)
            prediction = jnp.sqrt(jnp.sum(moved**2, axis=1))
        distance = metric.norm(combine(base, y0), difference, data)
        change = jnp.abs(at_probes(problem.loss, end) - loss)
        return Rung(change, prediction, distance, jnp.sqrt(dot(difference, difference)), length)

    return jax.lax.map(one, jax.tree.map(lambda leaf: leaf[1:], ends))


def _failure(problem: Problem, rows: Any, n: int, index: int) -> Exception:
    """Why a run failed; of the flow itself it is found by running it once more."""
    which = f"The run on {n} samples" + (f", with sample {index - 1} of them changed," if index else "")
    if problem.method.step_size is None:
        try:
            simulate(problem.flow, problem.y0, problem.t1, args=_data(problem, rows), **problem.method.options)
        except SimulationError as error:
            return SimulationError(f"{which} failed. {error}", error.trajectory)
    return RuntimeError(
        f"{which} did not end in finite numbers. Try: a smaller `step_size`, below `fm.step_limit`, or a shorter `t1`."
    )
