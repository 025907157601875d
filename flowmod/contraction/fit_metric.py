"""The constant metric in which a flow contracts fastest at given states."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from .._tree import as_state, combine, floats, is_float_array, label_of, size, traced_numbers
from .._typing import Args, State
from ..flow import AbstractFlow, field_jacobian, require_flow
from ..metric import ConstantMetric
from ..simulate import Ensemble, Trajectory, evaluate_along
from ._lmi import MetricInequality
from .perron import perron_weights

_LARGEST = 50
"""Numbers of the state: a fit at one state of 40 numbers took a minute, and programs grow with the sixth power."""

_ADDED = 3
"""States at which a candidate fails that go to the solver at once."""

_SHOWN = 4
"""Leaves of the worst state that are printed."""


@dataclasses.dataclass(frozen=True)
class FittedMetric:
    """A constant metric and its rates at the states that it was fitted to; `print` it.

    The rate is one at these states. It is no certificate for those between them: for a region, give the metric to
    `fm.certify`.

    Attributes:
        metric: the `fm.ConstantMetric`, its smallest eigenvalue one.
        rate: the least rate over the states, 1/time, worked out from the metric's eigenvalues and not taken from the
            solver. Negative where no metric that was allowed contracts.
        rates: the rate at each state, (N,).
        worst: the state of the least rate.
        index: which one it is.
        time: its time.
        condition: largest eigenvalue of the metric over its smallest. Euclidean distances may grow by its square root
            before they shrink.
        bound: no metric of this structure and condition has a better rate at these states, to the solver's accuracy.
        structure: `"full"` or `"diagonal"`.
    """

    metric: ConstantMetric
    rate: float
    rates: Float[np.ndarray, " states"]
    worst: State
    index: int
    time: float
    condition: float
    bound: float
    structure: str

    def __str__(self) -> str:
        leaves = jax.tree.leaves_with_path(floats(self.worst))
        values = [f"{label_of(path) or 'y'} = {_short(leaf)}" for path, leaf in leaves[:_SHOWN]]
        values += ["..."] * (len(leaves) > _SHOWN)
        what = "contracts" if self.rate > 0 else "does NOT contract"
        return "\n".join(
            [
                f"FittedMetric ({self.structure}, condition {self.condition:.3g}): the flow {what} at these states",
                f"  rate   {self.rate:.6g} at the worst of {len(self.rates)}; no such metric has more than "
                f"{self.bound:.6g}",
                f"  worst  number {self.index}, t = {self.time:.6g}, {', '.join(values)}",
                "  These are sampled states: for a region, give `.metric` to `fm.certify`.",
            ]
        )


def _short(leaf: Any) -> str:
    return np.array2string(np.asarray(leaf).ravel(), precision=4, threshold=8, edgeitems=2)


def fit_metric(
    flow: AbstractFlow,
    states: Trajectory | State,
    t: Any = 0.0,
    args: Args = None,
    structure: str = "full",
    condition: float = 1e4,
    rtol: float = 1e-5,
) -> FittedMetric:
    """Fit the constant metric in which a flow contracts fastest at some states.

    It is the `P` with the largest `c` such that `J_i^T P + P J_i + 2 c P <= 0` for the Jacobians `J_i` at all states
    and `I <= P <= condition I`. The feasible `c` are an interval, which is halved; each half is a semidefinite program
    for a cone solver. Where a metric has the rate that no other can beat (the Euclidean one of symmetric Jacobians, the
    Perron weights of Metzler ones) there is nothing to solve. Of the metrics with the best rate the one with the
    smallest condition is returned.

    Args:
        flow: the flow; its own metric does not matter.
        states: a `Trajectory`, or a tree like a state with a leading axis (N,) on every float leaf.
        t: the time of the states, one or (N,); a trajectory brings its own.
        args: handed to the flow.
        structure: `"full"`, or `"diagonal"` for weights, one for each number of the state.
        condition: a bound on the condition of the metric. A Jacobian that is not normal comes the nearer to its
            spectral abscissa the larger it is.
        rtol: of the rate, relative to the largest norm of a Jacobian.

    Returns:
        A `FittedMetric`. Where no metric contracts, the best negative rate is the answer.

    Raises:
        ValueError: for a state of more than 50 numbers, states without a common leading axis, a Jacobian that is not
            finite (with its state), or another argument that is wrong.
        RuntimeError: if the solver fails.
        ModuleNotFoundError: if the solver is not installed: `pip install 'flowmod[fit]'`.

    Reference: S. Boyd, L. El Ghaoui, E. Feron and V. Balakrishnan, "Linear Matrix Inequalities in System and Control
    Theory" (1994).
    """
    require_flow(flow)
    if structure not in ("full", "diagonal"):
        raise ValueError(f'`structure` must be "full" or "diagonal", got {structure!r}.')
    for name, value, low, high in (("condition", condition, 1, 1e8), ("rtol", rtol, 1e-9, 1)):
        if not low <= value <= high:  # a cone solver knows about eight digits
            raise ValueError(f"`{name}` must be a number from {low:g} to {high:g}, got {value!r}.")
    ts, ys, rest = _points(states, t)
    jacobians = _jacobians(flow, ts, ys, rest, traced_numbers(args))
    scale = float(np.linalg.norm(jacobians, 2, axis=(1, 2)).max()) or 1.0
    found, bound = _best(jacobians / scale, condition, structure == "diagonal", rtol)
    metric = ConstantMetric(found)
    # Without double precision the metric was rounded: the rates are those of what is returned.
    found = np.asarray(metric.matrix, dtype=np.float64)
    eigenvalues = np.linalg.eigvalsh(found)
    rates = _rates(found, jacobians)
    index = int(np.argmin(rates))
    return FittedMetric(
        metric=metric,
        rate=float(rates[index]),
        rates=rates,
        worst=combine(jax.tree.map(lambda leaf: leaf[index], ys), rest),
        index=index,
        time=float(ts[index]),
        condition=float(eigenvalues[-1] / eigenvalues[0]),
        bound=float(max(bound * scale, rates[index])),
        structure=structure,
    )


def _points(states: Any, t: Any) -> tuple[Float[np.ndarray, " N"], State, State]:
    """Times, float leaves with a leading axis, and what does not move."""
    if isinstance(states, Ensemble):
        raise ValueError(
            "`states` must be a Trajectory or a stack of states, got an Ensemble: take a member, `ensemble[0]`."
        )
    trajectory = isinstance(states, Trajectory)
    tree = states.ys if trajectory else as_state("states", states)
    ys, rest = jax.tree.map(np.asarray, floats(tree)), eqx.filter(tree, is_float_array, inverse=True)
    counts = {leaf.shape[:1] for leaf in jax.tree.leaves(ys)}
    if len(counts) != 1 or counts & {(), (0,)}:
        raise ValueError(
            "`states` must be a Trajectory, or a state whose every float leaf has a leading axis of one length, got "
            f"leading axes {sorted(counts)}. Write one state as `jax.tree.map(lambda leaf: leaf[None], y)`."
        )
    [(count,)] = counts
    if (n := size(ys) // count) > _LARGEST:
        raise ValueError(f"`states` must be of at most {_LARGEST} numbers each, got {n}: fit the metric of a part.")
    ts = np.asarray(states.ts if trajectory else t, dtype=np.result_type(float))
    if ts.shape not in ((), (count,)):
        raise ValueError(f"`t` must be one time or one for each of the {count} states, got shape {ts.shape}.")
    return np.broadcast_to(ts, (count,)), ys, rest


def _jacobians(flow, ts, ys, rest, args) -> Float[np.ndarray, "N n n"]:
    found = np.asarray(evaluate_along(_jacobian, ts, ys, (flow, rest, args)), dtype=np.float64)
    bad = ~np.isfinite(found).all(axis=(1, 2))
    if bad.any():
        index = int(np.argmax(bad))
        where = jax.tree.map(lambda leaf: leaf[index], ys)
        raise ValueError(f"`flow` has no finite Jacobian at state {index}, t = {ts[index]:.6g}, {where}: leave it out.")
    return found


def _jacobian(t, y, operands):
    flow, rest, args = operands
    return field_jacobian(flow, t, combine(y, rest), args)


def _rates(p: Float[np.ndarray, "n n"], jacobians: Float[np.ndarray, "N n n"]) -> Float[np.ndarray, " N"]:
    """The rate at each state, by the eigenvalues of the pencil; minus infinity where `P` is no metric."""
    try:
        inverse = np.linalg.inv(np.linalg.cholesky(p))
    except np.linalg.LinAlgError:
        return np.full(len(jacobians), -np.inf)
    product = inverse @ (p @ jacobians) @ inverse.T
    return -np.linalg.eigvalsh((product + product.transpose(0, 2, 1)) / 2)[:, -1]


def _best(jacobians, condition: float, diagonal: bool, rtol: float) -> tuple[Float[np.ndarray, "n n"], float]:
    """The best metric, its smallest eigenvalue one, and a bound on the rate of all.

    Only the states that some candidate failed at are given to the solver.
    """
    slowest = np.linalg.eigvals(jacobians).real.max(axis=1)
    high = float(-slowest.max())
    best, low = np.eye(jacobians.shape[1]), -np.inf
    for candidate in _candidates(jacobians[np.argmax(slowest)], condition):
        if (rate := _rates(candidate, jacobians).min()) > low:
            best, low = candidate, rate
    active = [int(np.argmin(_rates(best, jacobians)))]
    inequality = None
    while high - low > rtol:
        inequality = inequality or MetricInequality(jacobians[active], condition, diagonal)
        middle = (low + high) / 2
        candidate = inequality.nearest(middle)
        rates = _rates(candidate, jacobians)
        if rates.min() > low:
            best, low = candidate, rates.min()
        if rates[active].min() < middle:
            high = middle
        elif rates.min() < middle:
            worst = np.argsort(rates)[:_ADDED]
            active, inequality = [*active, *worst[rates[worst] < middle]], None
    if inequality is not None:
        best = _rounder(best, low, jacobians, active, condition, diagonal, rtol)
    return best / np.linalg.eigvalsh(best)[0], high


def _candidates(worst, condition):
    """Metrics that can be the best one without a solver's help: of symmetric and of Metzler Jacobians."""
    yield np.eye(len(worst))
    if (worst - np.diag(np.diag(worst)) >= 0).all():
        weights = perron_weights(worst)
        if weights.condition <= condition:
            yield np.diag(weights.metric)


def _rounder(best, low: float, jacobians, active: list[int], condition: float, diagonal: bool, rtol: float):
    """A metric of smaller condition that has the rate but for half of what is tolerated, or the same."""
    while True:
        try:
            candidate = MetricInequality(jacobians[active], condition, diagonal).roundest(low - rtol / 2)
        except RuntimeError:
            return best
        rates = _rates(candidate, jacobians)
        if rates.min() >= low - rtol:
            return min((best, candidate), key=np.linalg.cond)
        if (index := int(np.argmin(rates))) in active:
            return best
        active = [*active, index]
