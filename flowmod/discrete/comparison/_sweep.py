"""One flow and all optimizers: run portion by portion, and put together by start and step size."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import dtype_of
from ..._typing import Args, Vector
from ...flow import AbstractFlow
from ._lanes import lanes_for
from ._optimizer import Optimizer
from ._order import Scale
from ._prediction import Prediction
from ._reference import Outcome, Reference, run_flow
from ._runs import Records, Runs, losses_and_gradients, run_all
from ._schedule import Portion, Schedule
from ._starts import Starts

_LEGS = 24
"""Calls of one program that the runs of an optimizer are shared out over: an update of a small state keeps one core
busy only, so that as many go on at a time as there are cores. Progress is told after each."""


class Sweep(NamedTuple):
    """What came of one flow.

    Attributes:
        records: for each optimizer the records of its runs, arrays (starts, S, ...).
        limits: for each optimizer the step limits along the flow, (starts, times).
        scale: what errors are measured by.
        first: the losses at the starts, (starts,).
        outcome: how the runs of the flow ended.
        reached: whether the flow is known until `t1`, (starts,).
    """

    records: list[Records]
    limits: list[np.ndarray]
    scale: Scale
    first: np.ndarray
    outcome: Outcome
    reached: np.ndarray


def sweep(
    flow: AbstractFlow,
    optimizers: list[Optimizer],
    starts: Starts,
    plan: Schedule,
    args: Args,
    method: dict[str, Any],
    tell: Callable[[float], None],
) -> Sweep:
    """Run a flow and all optimizers beside it.

    Raises:
        ValueError: if an optimizer fails in Python; the error names it.
        SimulationError: if there is one start, and the flow can't be run from it.
    """
    parts: list[list[Records]] = [[] for _ in optimizers]
    dtype, middle = dtype_of(starts.tree), float(np.median(plan.step_sizes))
    lanes = lanes_for(np.repeat(plan.updates[:, -1], len(starts)), starts.size)
    told: list[Sweep] = []
    for portion in plan.portions(len(starts), starts.size, dtype):
        reference, outcome = run_flow(flow, starts, portion, args, method)
        first = losses_and_gradients(reference)
        if not told:
            prediction = Prediction(reference, portion.probes)
            limits = [prediction.limits(optimizer, middle) for optimizer in optimizers]
            scale = Scale.of(reference.times, reference.path, plan.t1, method["rtol"])
            reached = _are_finite(reference.path, portion.probes[-1])
            told.append(Sweep([], limits, scale, np.asarray(first[0]), outcome, reached))
        for optimizer, found in zip(optimizers, parts, strict=True):
            found.append(_run(optimizer, reference, first, plan, portion, lanes, tell))
    records = [jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *found) for found in parts]
    return told[0]._replace(records=records)


def _are_finite(path: Vector, row: int) -> np.ndarray:
    """Whether the state of a row is known, (starts,)."""
    leaves = [np.asarray(leaf)[:, row] for leaf in jax.tree.leaves(path)]
    return np.all([np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in leaves], axis=0)


def _run(
    optimizer: Optimizer,
    reference: Reference,
    first: tuple,
    plan: Schedule,
    portion: Portion,
    lanes: int,
    tell: Callable[[float], None],
) -> Records:
    """The runs of a portion, as arrays (starts, step sizes, ...)."""
    starts = len(first[0])
    # Step size by step size, so that a chunk has runs of nearly the same length.
    step, start = (index.ravel() for index in np.indices((len(portion.chosen), starts)))
    chunks = -(-len(step) // lanes)
    leg = -(-chunks // _LEGS)
    rows = np.minimum(np.arange(-(-chunks // leg) * leg * lanes), len(step) - 1)
    legs = [_runs(plan, portion, step[taken], start[taken], reference) for taken in rows.reshape(-1, leg * lanes)]
    # Compiled here: a thread has its own settings of JAX, and would trace another program.
    program = run_all.lower(optimizer, reference, first, legs[0], lanes).compile()

    def run(runs: Runs) -> tuple[Records, bool]:
        records, factorises = program(optimizer, reference, first, runs, lanes)
        return jax.tree.map(np.asarray, records), factorises

    share = portion.count / len(plan.step_sizes) / len(legs)
    parts = [run(legs[0])]
    tell(share)
    # Factorisations of two programs could wait for each other as those of one can.
    pool = ThreadPoolExecutor(1 if parts[0][1] else os.cpu_count())
    try:
        for part in pool.map(run, legs[1:]):
            parts.append(part)
            tell(share)
    finally:
        pool.shutdown(cancel_futures=True)

    def by_start(*leaves):
        whole = np.concatenate(leaves)[: len(step)]
        return whole.reshape(-1, starts, *whole.shape[1:]).swapaxes(0, 1)[:, : portion.count]

    return jax.tree.map(by_start, *(records for records, _ in parts))


def _runs(plan: Schedule, portion: Portion, step: np.ndarray, start: np.ndarray, reference: Reference) -> Runs:
    """The runs of these step sizes of a portion, from these starts."""
    chosen = portion.chosen[step]
    return Runs(
        jnp.asarray(plan.step_sizes[chosen], reference.times.dtype),
        jnp.asarray(start, jnp.int32),
        jnp.asarray(plan.updates[chosen]),
        jnp.asarray(portion.rows[step]),
    )
