"""Stochastic optimizers and the flow of their mean, with bands over seeds."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..._tree import combine, dot, dtype_of, floats, is_traced
from ..._typing import Args, State, Vector
from ...flow import AbstractFlow
from ...simulate import Trajectory, simulate
from .._family import Family
from ..comparison._checks import check_flow, check_step_sizes, check_time, check_tolerances
from ..comparison._lanes import traced
from ..comparison._starts import check_starts
from ._checks import check_key

if TYPE_CHECKING:
    import xarray as xr

_RECORDS = 61


class _Records(NamedTuple):
    """What is kept of one optimizer.

    Attributes:
        loss: on all data, (K, R).
        distance: from the flow, (K, R).
        distance_of_mean: of the mean over seeds, (R,).
    """

    loss: Any
    distance: Any
    distance_of_mean: Any


def compare_seeds(
    flow: AbstractFlow,
    optimizers: Mapping[str, Callable[[Any, Any], Any]],
    y0: State,
    step_size: Any,
    t1: Any,
    *,
    key: Any,
    seeds: int = 32,
    quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    args: Args = None,
) -> "xr.Dataset":
    """Run stochastic optimizers with many seeds beside the flow of their mean, on its clock.

    One program for each optimizer runs all seeds in lockstep. How far the runs are from the flow has two parts: their
    mean is off by the discretisation, of order `step_size`, and they scatter around it, with a variance of order
    `step_size / batch_size`. `distance_of_mean` and the bands show the one and the other.

    Args:
        flow: a first-order flow with a potential, the loss on all data: `fm.GradientFlow(problem)`.
        optimizers: functions `(step_size, key)` to an optax transformation by name, such as
            `{"8 samples": lambda h, key: fm.minibatch(optax.sgd(h), problem, 8, key=key)}`.
        y0: the start, of all.
        step_size: the time that one update takes.
        t1: the time up to which they are compared, to the nearest update, and at least as long as one.
        key: a JAX random key, split into those of the seeds.
        seeds: how many runs each optimizer has.
        quantiles: of the bands, from 0 to 1; a run that is not finite counts as infinite.
        args: handed to the flow.

    Returns:
        An `xarray.Dataset` with the dimensions `optimizer`, `seed`, `time`, which counts at most 61 records, and
        `quantile`. Variables: `loss` on all data, `distance` from the flow, Euclidean, and their quantiles over seeds,
        `loss_band` and `distance_band`; `distance_of_mean`, that of the mean over seeds from the flow; `flow_loss`.
        Coordinates over `time`: `flow_time` and `update`.

    Raises:
        ValueError: for wrong input, and for an optimizer that fails in Python; one that returns NaN has NaN.
        SimulationError: if the flow can't be run until `t1`.

    Reference: H. J. Kushner and G. G. Yin, "Stochastic Approximation and Recursive Algorithms and Applications" (2003),
    for the flow of the mean.
    """
    if is_traced(flow, y0, step_size, t1, args):
        raise ValueError("`compare_seeds` runs outside of JAX transformations only, but an argument is traced.")
    check_flow("flow", flow)
    y0, end = check_starts(y0, False).tree, check_time(t1)
    [step] = check_step_sizes([step_size]).astype(dtype_of(y0))
    families = _check_families(optimizers, flow.potential, args)
    check_key(key)
    if isinstance(seeds, bool) or not isinstance(seeds, int | np.integer) or seeds < 1:
        raise ValueError(f"`seeds` must be a positive whole number, got {seeds!r}.")
    levels = np.asarray(quantiles, float)
    if levels.ndim != 1 or not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError(f"`quantiles` must be numbers from 0 to 1, got {quantiles!r}.")
    last = round(end / float(step))
    if end < float(step) * (1 - 1e-6):
        raise ValueError(f"`t1` must be at least as long as an update, {float(step):g}, got {end:g}.")
    updates = np.unique(np.linspace(0, last, _RECORDS).round().astype(np.int32))
    rtol, atol = check_tolerances(None, None, dtype_of(y0))
    run = simulate(flow, y0, ts=updates * float(step), args=args, rtol=rtol, atol=atol)
    path = jax.tree.map(jnp.asarray, floats(run.ys))
    keys = jax.random.split(key, int(seeds))
    found = [_run(family, y0, step, keys, updates, path) for family in families.values()]
    return _table(list(families), found, run, updates, levels, {"step_size": float(step), "t1": end})


def _run(family: Family, y0: State, step_size: Any, keys: Any, updates: np.ndarray, path: PyTree) -> _Records:
    first = family.at(step_size, keys[0])
    state, others = eqx.partition(family.init(first, y0), eqx.is_array)
    operands = _Operands(family, y0, others, step_size, keys, jnp.asarray(updates), path)
    _, factorises = traced(lambda leaves, state: _advance(operands, keys[0], leaves, state), floats(y0), state)
    return jax.tree.map(np.asarray, _run_all(operands, factorises))


class _Operands(NamedTuple):
    """What a program runs: optimizers, their start, the rest of their state, and the flow's path at the records."""

    family: Family
    y0: State
    others: Any
    step_size: Any
    keys: Any
    updates: Any
    path: PyTree


def _advance(operands: _Operands, key: Any, leaves: Vector, state: Any) -> tuple[Vector, Any]:
    """One run, one update further."""
    family, y0 = operands.family, operands.y0
    optimizer = family.at(operands.step_size, key)
    y, state, _ = family.step(optimizer, combine(leaves, y0), eqx.combine(state, operands.others))
    return floats(y), eqx.filter(state, eqx.is_array)


@eqx.filter_jit
def _run_all(operands: _Operands, in_turn: bool) -> _Records:
    family, y0, keys = operands.family, operands.y0, operands.keys

    def each(fn: Callable) -> Callable:
        return (lambda *trees: jax.lax.map(lambda tree: fn(*tree), trees)) if in_turn else jax.vmap(fn)

    def start(key):
        return floats(y0), eqx.filter(family.init(family.at(operands.step_size, key), y0), eqx.is_array)

    def until(carry, record):
        update, there = record
        count, runs = carry
        runs = jax.lax.fori_loop(count, update, lambda _, runs: each(partial(_advance, operands))(keys, *runs), runs)
        away = jax.tree.map(lambda leaf, at: leaf - at[None], runs[0], there)
        of_mean = _length(jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), away))
        losses = each(lambda leaves: family.potential(combine(leaves, y0), family.args))(runs[0])
        return (update, runs), _Records(losses, jax.vmap(_length)(away), of_mean)

    _, kept = jax.lax.scan(
        until, (jnp.zeros_like(operands.updates[0]), each(start)(keys)), (operands.updates, operands.path)
    )
    return _Records(kept.loss.T, kept.distance.T, kept.distance_of_mean)


def _length(vector: Vector) -> Float[Array, ""]:
    return jnp.sqrt(dot(vector, vector))


def _check_families(optimizers: Any, potential: Any, args: Args) -> dict[str, Family]:
    if not (isinstance(optimizers, Mapping) and optimizers and all(isinstance(name, str) for name in optimizers)):
        raise ValueError(
            "`optimizers` must be a dict from names to functions of the step size and a key, such as "
            f'{{"sgd": lambda h, key: fm.minibatch(optax.sgd(h), problem, 8, key=key)}}, got {optimizers!r}.'
        )
    return {name: Family(f"optimizers[{name!r}]", make, potential, args) for name, make in optimizers.items()}


def _bands(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Quantiles over seeds, (optimizers, Q, R); always the value of a run, so that one that diverged is no NaN."""
    finite = np.where(np.isfinite(values), values, np.inf)
    return np.moveaxis(np.quantile(finite, levels, axis=1, method="inverted_cdf"), 0, 1)


def _table(
    names: list[str],
    found: list[_Records],
    run: Trajectory,
    updates: np.ndarray,
    levels: np.ndarray,
    attributes: dict[str, float],
) -> "xr.Dataset":
    import xarray as xr

    loss, distance, of_mean = (np.stack(arrays) for arrays in zip(*found, strict=True))
    runs, bands = ("optimizer", "seed", "time"), ("optimizer", "quantile", "time")
    units = {label: {"units": unit} for label, unit in run.units}
    potential = units.get("potential", {})
    variables = {
        "loss": (runs, loss, {"long_name": "potential of the iterates"} | potential),
        "distance": (runs, distance, {"long_name": "Euclidean distance from the flow"}),
        "loss_band": (bands, _bands(loss, levels), {"long_name": "quantiles of the potential over seeds"} | potential),
        "distance_band": (bands, _bands(distance, levels), {"long_name": "quantiles of the distance over seeds"}),
        "distance_of_mean": (runs[::2], of_mean, {"long_name": "distance of the mean over seeds from the flow"}),
        "flow_loss": ("time", np.asarray(run.potential), {"long_name": "potential of the flow"} | potential),
    }
    coords = {
        "optimizer": names,
        "seed": np.arange(loss.shape[1]),
        "quantile": levels,
        "flow_time": ("time", np.asarray(run.ts), {"long_name": "time of the record"} | units.get("time", {})),
        "update": ("time", updates, {"long_name": "number of updates"}),
    }
    return xr.Dataset(variables, coords=coords, attrs=attributes)
