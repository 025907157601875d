"""Twins: runs that start next to each other, and whether they approach as fast as the contraction rate says."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._tree import as_state, combine, dtype_of, floats, is_float_array, label_of, ravel, traced_numbers, unraveler
from .._typing import Args, State
from ..flow import AbstractFlow, require_flow
from ..metric import AbstractMetric, require_metric
from ..simulate import SimulationError, ensemble, evaluate_along
from .jacobian import default_metric, unless_own
from .rate import contraction_rate
from .twin_runs import Twins

_GAUSS, _WEIGHTS = np.polynomial.legendre.leggauss(3)
_PLACES = np.append((_GAUSS + 1) / 2, 1.0)
_WEIGHTS = np.append(_WEIGHTS / 2, 0.0)
"""Where on the segment from 0 to 1 the metric and the rate are taken, and how much each place counts of the length."""

_TOLERANCES = {4: (1e-5, 1e-7), 8: (1e-9, 1e-12)}
"""Relative and absolute ones of the runs, by the bytes of a number: far below what is left of the distances."""


def twins(
    flow: AbstractFlow,
    y0: State,
    t1: Any = None,
    *,
    t0: Any = 0.0,
    ts: Any = None,
    key: Array | None = None,
    count: int = 4,
    radius: float = 1e-3,
    starts: State = None,
    metric: AbstractMetric | None = None,
    args: Args = None,
    solver: Any = None,
    rtol: Any = None,
    atol: Any = None,
) -> Twins:
    """Run a flow from a start and from twins next to it, and compare their distances with what the rates predict.

    Args:
        flow: the flow.
        y0: the start of the base run.
        t1: the end time; the last of `ts` by default.
        t0: the start time.
        ts: the times of distances and rates, (T,), three or more; 101 evenly spaced ones by default.
        key: a random key for the directions of the twins, uniform over those of the state's numbers.
        count: how many twins.
        radius: their distance from the base run at the start, in the metric there. A rate is one of neighbours: small,
            and far above the tolerances.
        starts: twins of your own instead, a tree like `y0` with a leading axis (twins,) on every float leaf.
        metric: the metric of distances and rates; the flow's own by default, else Euclidean.
        args: handed to the flow and to the metric.
        solver: as for `simulate`.
        rtol: relative tolerance of the runs; 1e-9 by default, 1e-5 in single precision.
        atol: absolute tolerance; 1e-12 by default, 1e-7 in single precision.

    Returns:
        A `Twins`. Rates of large states are Lanczos estimates, NaN where they did not converge.

    Raises:
        ValueError: for neither or both of `key` and `starts`, a radius or a number of twins that is not positive, fewer
            than three times, starts that are no stack of states or equal to `y0`, or a metric that gives no length.
        SimulationError: if a run fails.
    """
    require_flow(flow)
    y0 = as_state("y0", y0)
    if metric is not None:
        require_metric("metric", metric)
    if ts is not None and np.size(ts) < 3:
        raise ValueError(f"`ts` must be three times or more, got {np.size(ts)}: an envelope is an integral over them.")
    args, metric = traced_numbers(args), unless_own(flow, metric)
    if starts is None:
        starts = _random_starts(flow, y0, t0, args, metric, key, count, radius)
    elif key is not None:
        raise ValueError("Give `key` or `starts`, not both: a key is for random starts.")
    defaults = _TOLERANCES[dtype_of(y0).itemsize]
    rtol, atol = (
        given if given is not None else default for given, default in zip((rtol, atol), defaults, strict=True)
    )
    runs = ensemble(flow, _stacked(y0, starts), t1, t0=t0, ts=ts, solver=solver, rtol=rtol, atol=atol, args=args)
    if len(runs.failed):
        failed = runs[int(runs.failed[0])]
        name = f"twin {runs.failed[0] - 1}" if runs.failed[0] else "the base run"
        raise SimulationError(f"A run failed, {name}: {failed.outcome} {failed.reason}", failed)
    over_time = jax.tree.map(lambda leaf: np.moveaxis(leaf, 0, 1), floats(runs.ys))
    rest = eqx.filter(y0, is_float_array, inverse=True)
    operands = (flow, args, metric, rest, jnp.asarray([rtol, atol], dtype=dtype_of(y0)))
    noise, lengths, rates = evaluate_along(_at_time, runs.ts, over_time, operands)
    times, lengths, rates, noise = (np.asarray(a, dtype=np.float64) for a in (runs.ts, lengths, rates, noise))
    return _checked(Twins(times, lengths.T, rates, noise, runs))


def _random_starts(flow, y0, t0, args, metric, key, count, radius) -> State:
    if key is None:
        raise ValueError("Give `key=jax.random.key(0)` for twins in random directions, or `starts`.")
    if not 0 < radius < np.inf:
        raise ValueError(f"`radius` must be positive, got {radius!r}.")
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"`count` must be a whole number from 1, got {count!r}.")
    measure, x, unravel = default_metric(flow, y0, metric).at(t0), ravel(y0), unraveler(y0)
    moves = jax.random.normal(key, (int(count), x.size), x.dtype)
    starts = [x + move * (radius / measure.norm(y0, unravel(move), args)).astype(x.dtype) for move in moves]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(unravel(start) for start in starts))


def _stacked(y0: State, starts: State) -> State:
    """The base run and its twins, a leading axis on every float leaf."""
    base, others = floats(y0), floats(as_state("starts", starts))
    shapes = [jax.tree.map(np.shape, base), jax.tree.map(lambda leaf: np.shape(leaf)[1:], others)]
    counts = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(others)}
    if shapes[0] != shapes[1] or len(counts) != 1 or counts & {(), (0,)}:
        found = {label_of(path) or "y": np.shape(leaf) for path, leaf in jax.tree.leaves_with_path(others)}
        raise ValueError(
            f"`starts` must be a tree like `y0` with a leading axis on every float leaf, got shapes {found}."
        )

    def stack(one, many):
        return np.concatenate([np.asarray(one)[None], np.asarray(many, dtype=one.dtype)])

    return combine(jax.tree.map(stack, base, others), y0)


def _at_time(t, ys, operands):
    """The length of the tolerances, those of the segments, (twins,), and the least rate on all of them."""
    flow, args, metric, rest, (rtol, atol) = operands
    members = jax.vmap(ravel)(ys)
    unravel = unraveler(jax.tree.map(lambda leaf: leaf[0], ys))

    def state(x):
        return combine(unravel(x), rest)

    base, across = members[0], members[1:] - members[:1]
    places, weights = (jnp.asarray(array, dtype=base.dtype) for array in (_PLACES, _WEIGHTS))
    points = base[None, None] + places[None, :, None] * across[:, None]
    directions = jnp.broadcast_to(across[:, None], points.shape)
    error = rtol * jnp.abs(base) + atol

    def measured(pair):
        x, direction = pair
        length = default_metric(flow, state(x), metric).at(t).norm(state(x), unravel(direction), args)
        return length, contraction_rate(flow, state(x), t, args, metric)

    flat = (jnp.concatenate([a[None], b.reshape(-1, a.size)]) for a, b in ((base, points), (error, directions)))
    lengths, rates = jax.lax.map(measured, tuple(flat))
    return lengths[0], lengths[1:].reshape(points.shape[:2]) @ weights, jnp.min(rates)


def _checked(found: Twins) -> Twins:
    # Without the length of an error nothing would count as a violation.
    bad = ~np.isfinite(found.distances + found.noise)
    if bad.any():
        twin, row = (int(k) for k in np.argwhere(bad)[0])
        raise ValueError(
            f"`metric` gives the segment to twin {twin} no length at t = {found.times[row]:.6g}: check it there with "
            "`fm.check_metric`."
        )
    if not (found.distances[:, 0] > 0).all():
        raise ValueError("`starts` must differ from `y0`: a twin that starts there is the same run.")
    return found
