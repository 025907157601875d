"""How much one sample changes what a flow ends in, measured: twin runs on data that differ in it."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import numpy as np

from ..._tree import as_state, dtype_of, is_traced
from ..._typing import State
from ...flow import AbstractFlow, require_flow
from ._checks import check_kind, check_number, check_sizes, whole_steps
from ._leave_out import require_weights
from ._samples import Samples, check_reads_data, check_samples, loss_of, prediction_of
from ._twins import Method, Problem, Rung, rung
from .ladder import StabilityLadder

_TOLERANCES = {
    np.dtype("float64"): {"rtol": 1e-9, "atol": 1e-12},
    np.dtype("float32"): {"rtol": 1e-5, "atol": 1e-7},
}

_CLEAR = 1e-3
"""Errors of the solver that are no larger than this part of a distance do not show in it."""


def measure_stability(
    flow: AbstractFlow,
    data: Samples,
    y0: State,
    t1: Any,
    sizes: Any,
    *,
    key: Any,
    kind: str = "replace-one",
    twins: int | None = 20,
    probes: Samples | None = None,
    loss: Callable | None = None,
    step_size: float | None = None,
    solver: diffrax.AbstractSolver | str | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int = 100_000,
) -> StabilityLadder:
    """How much the end of a run changes with one sample of its data, for a ladder of numbers of samples.

    For each number `n` the flow runs on `n` samples of the pool, and once more for each twin, with one of them
    replaced by a fresh one or left out: from the same start, on the same clock, with potential *and metric* made anew
    from the changed data. Only the data differ: the data of one `n` are part of those of the next, and the same
    samples are replaced by the same others for all of them, so that the exponent is not drowned in what they are.

    Left out, a sample has the weight zero and the others keep their weight `1/n`: nothing else changes.

    Args:
        flow: a flow that gets its data as `args`: a `fm.GradientFlow` of `fm.Supervised(module, loss)`, with a metric
            that has no data of its own either, or any flow of functions `(y, args)`.
        data: the pool, a tree of arrays with one entry for each sample on their first axes: `(inputs, targets)`.
        y0: the start.
        t1: how long the runs take.
        sizes: numbers of samples, at least three, ascending.
        key: a JAX random key: the pool is shuffled.
        kind: `"replace-one"`, or `"leave-one-out"` for a `fm.Supervised`. Replacements are the last of the pool, which
            has to hold `max(sizes)` samples and one more for each twin.
        twins: how many samples of each `n` are changed, one at a time; all of them if there are not so many, or for
            `None`.
        probes: the samples whose losses and outputs are compared, as `data`; the pool by default.
        loss: `loss(y, sample)` of one sample, without a regularizer; that of a `fm.Supervised` by default.
        step_size: take fixed steps of Euler's method, as `fm.discretize` does, in place of the flow itself.
        solver: for the flow, as for `fm.simulate`, like `rtol`, `atol` and `max_steps`.
        rtol: relative error of a step; 1e-9 for a float64 state, 1e-5 for float32.
        atol: absolute error of a step; 1e-12 or 1e-7.
        max_steps: give up after so many steps.

    Returns:
        A `StabilityLadder`; `print` shows it, and `fm.plot.stability` draws it below a bound.

    Raises:
        ValueError: for wrong input; if no data reach the flow; if the solver's errors could be seen in the distances.
        SimulationError: if a run of the flow fails.
        RuntimeError: if Euler's method does not end in finite numbers.
    """
    require_flow(flow)
    check_kind(kind)
    check_reads_data(flow)
    if is_traced(flow, y0, data, t1):
        raise ValueError("`measure_stability` runs outside of JAX transformations only: call it with the values.")
    y0, t1 = as_state("y0", y0), check_number("t1", t1, above=0.0)
    data, count = check_samples("data", data)
    sizes = _check_ladder(sizes)
    counts = np.minimum(sizes, _check_twins(twins, sizes))
    draws = counts.max() if kind == "replace-one" else 0
    _check_pool(count, int(sizes.max()), int(draws))
    probes = data if probes is None else check_samples("probes", probes)[0]
    given = {"solver": solver, "rtol": rtol, "atol": atol}
    method = _method(dtype_of(y0), t1, step_size, given, max_steps)
    problem = Problem(flow, y0, data, probes, loss_of(flow, loss), prediction_of(flow), t1, method)
    if kind == "leave-one-out":
        require_weights(flow, y0, data)
    order = np.asarray(jax.random.permutation(key, count))
    fresh = order[sizes.max() : sizes.max() + draws] if draws else None
    rungs = [rung(problem, order[:n], fresh, twins) for n, twins in zip(sizes, counts, strict=True)]
    _require_clear(rungs, method)
    return StabilityLadder(
        sizes=sizes,
        loss=_padded([one.loss for one in rungs]),
        prediction=None if problem.predict is None else _padded([one.prediction for one in rungs]),
        distance=_padded([one.distance for one in rungs]),
        parameters=_padded([one.parameters for one in rungs]),
        changed=order[: counts.max()],
        replacements=fresh,
        kind=kind,
        t1=t1,
        step_size=step_size,
    )


def _check_ladder(sizes: Any) -> np.ndarray:
    sizes = check_sizes("sizes", sizes)
    if sizes.ndim != 1 or len(sizes) < 3 or (np.diff(sizes) <= 0).any():
        raise ValueError(
            f"`sizes` must be at least three ascending numbers of samples, for a slope and its error, got {sizes}."
        )
    return sizes


def _check_twins(twins: Any, sizes: np.ndarray) -> int:
    if twins is None:
        return int(sizes.max())
    if isinstance(twins, bool) or not isinstance(twins, int | np.integer) or twins < 1:
        raise ValueError(f"`twins` must be a whole number from 1, or `None` for every sample, got {twins!r}.")
    return int(twins)


def _check_pool(count: int, largest: int, draws: int) -> None:
    if count < largest:
        raise ValueError(f"`sizes` must not go beyond the {count} samples of `data`, got {largest}.")
    if count < largest + draws:
        raise ValueError(
            f"`data` must hold {largest} samples and {draws} to replace some of them with, got {count}: take smaller "
            f'`sizes`, fewer `twins`, or `kind="leave-one-out"`.'
        )


def _method(dtype: np.dtype, t1: float, step_size: Any, given: dict[str, Any], max_steps: int) -> Method:
    if step_size is None:
        usual = _TOLERANCES.get(dtype, _TOLERANCES[np.dtype("float64")])
        return Method(usual | {k: v for k, v in given.items() if v is not None} | {"max_steps": max_steps})
    for name in (name for name, value in given.items() if value is not None):
        raise ValueError(f"`{name}` is for the flow itself: leave it out, or the `step_size` of Euler's method.")
    h = check_number("step_size", step_size, above=0.0)
    return Method({}, h, whole_steps("t1", t1, h))


def _require_clear(rungs: list[Rung], method: Method) -> None:
    """Raise a `ValueError` unless the data moved the ends, and by far more than the solver's errors."""
    moved = np.array([one.parameters.max() for one in rungs])
    if not moved.any():
        raise ValueError(
            "`flow` must take its data from `args`, and it ended in the same state whatever they are: have potential "
            "and metric read `args`."
        )
    if method.step_size is not None:
        return  # all runs take the same steps
    errors = method.options["atol"] + method.options["rtol"] * np.array([one.length.max() for one in rungs])
    if (errors > _CLEAR * moved).any():
        worst = np.argmax(errors - _CLEAR * moved)
        raise ValueError(
            f"`rtol` and `atol` must be small beside what one sample changes: they allow errors of {errors[worst]:.1e} "
            f"in each step, and the largest change of a state is {moved[worst]:.1e}. Make them smaller, or give a "
            "`step_size`."
        )


def _padded(values: list) -> np.ndarray:
    """One array for all sizes, NaN where a size has fewer twins."""
    most = max(map(len, values))
    return np.stack([np.pad(v, [(0, most - len(v)), *[(0, 0)] * (v.ndim - 1)], constant_values=np.nan) for v in values])
