"""The constants of a stability bound, measured along a run."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..._tree import combine, dot, dtype_of, floats, is_float_array
from ..._typing import Args, Covector, State
from ...flow import GradientFlow, require_flow
from ...metric import AbstractMetric, AbstractModularMetric, asymmetry, inverse_at, tolerance, value_and_covector
from ...simulate import Trajectory, evaluate_along
from ..rate import contraction_rate
from ._checks import check_kind
from ._leave_out import rescaled_metric
from ._sample_parts import ignores_data, is_mean, require_sum, unknown_weights
from ._samples import Samples, check_reads_data, check_samples, loss_of
from .bound import StabilityBound, stability_bound

_SAMPLES_AT_ONCE = 32


class StabilityConstants(NamedTuple):
    """What `fm.stability_bound` takes, measured along one run: estimates, because other data and states count too.

    Attributes:
        kappa: the longest gradient of one sample's loss.
        rate: the smallest contraction rate in the flow's metric, 1/time.
        mu: the smallest eigenvalue of the metric, or a lower bound on it; 1 where lengths are those of the metric.
        metric_term: the longest change of momentum that one sample's part of the metric makes; zero for a metric that
            no data enter.
        kind: `"replace-one"` or `"leave-one-out"`.
    """

    kappa: float
    rate: float
    mu: float
    metric_term: float
    kind: str

    def bound(self, n: Any, t: Any = math.inf) -> StabilityBound:
        """`fm.stability_bound` of the flow with these constants; the result says that they were measured.

        Args:
            n: samples, a whole number or an array of them.
            t: how long the runs take.
        """
        return stability_bound(**self._asdict(), n=n, t=t, measured=True)

    def __str__(self) -> str:
        return (
            f"kappa {self.kappa:.4g}, rate {self.rate:.4g}, mu {self.mu:.4g}, metric term {self.metric_term:.4g}: "
            "measured along one run, estimates"
        )


def stability_constants(
    flow: GradientFlow,
    trajectory: Trajectory,
    data: Samples,
    samples: Samples | None = None,
    *,
    loss: Any = None,
    kind: str = "replace-one",
    dual: bool = False,
) -> StabilityConstants:
    """The constants of `fm.stability_bound` at the saved times of a run, the worst ones of them.

    A bound needs them for all data sets and all states that runs may come to; these are of one. The gradient and the
    metric's part are the largest of all `samples`, the rate is `fm.contraction_rate` in the flow's metric.

    Args:
        flow: the flow, which gets its data as `args`.
        trajectory: a run of it on `data`.
        data: a tree of arrays with one entry for each sample on their first axes, `(inputs, targets)` for a
            `fm.Supervised`.
        samples: other samples that might take the place of one, such as a whole pool; `data` by default.
        loss: `loss(y, sample)` of one sample without a regularizer; that of a `fm.Supervised` by default.
        kind: `"replace-one"` or `"leave-one-out"`.
        dual: measure lengths in the metric and its dual, and not by their Euclidean length and the metric's smallest
            eigenvalue: a smaller bound, and for large states the cheaper one.

    Returns:
        `StabilityConstants`; `.bound(n, t)` is the estimate of a bound that they make. `mu` is the smallest mass for a
        modular metric, else an eigenvalue of its matrix, for up to some hundreds of numbers.

    Raises:
        ValueError: for wrong input, and where a constant is not finite along the run; if the metric is made from the
            data otherwise than as a mean over them, or at all by a function of yours where a sample is left out.
    """
    require_flow(flow)
    if not isinstance(trajectory, Trajectory):
        raise ValueError(f"`trajectory` must be a Trajectory of the flow, got {type(trajectory).__name__}.")
    if not isinstance(flow, GradientFlow):
        raise ValueError(
            f"`flow` must be a gradient flow, got {type(flow).__name__}: how far a sample pushes another flow is not "
            "known from gradients."
        )
    check_kind(kind)
    check_reads_data(flow)
    require_sum(flow.metric)
    data, _ = check_samples("data", data)
    samples = data if samples is None else check_samples("samples", samples)[0]
    rest = eqx.filter(trajectory.ys, is_float_array, inverse=True)
    operands = _Operands(flow, data, samples, loss_of(flow, loss), rest, kind, dual)
    kappa, mu, metric_term, known = evaluate_along(_constants, trajectory.ts, floats(trajectory.ys), operands)
    if not np.all(known):
        raise unknown_weights() if kind == "leave-one-out" else _no_mean()
    rates = contraction_rate(flow, trajectory, args=data)
    found = StabilityConstants(*map(float, (np.max(kappa), np.min(rates), np.min(mu), np.max(metric_term))), kind=kind)
    for name in found._fields[:-1]:
        if not math.isfinite(getattr(found, name)):
            raise ValueError(
                f"`trajectory` has a state at which the constant `{name}` is {getattr(found, name)}: leave out the "
                "times at which gradient, metric or rate can't be evaluated."
            )
    return found


class _Operands(NamedTuple):
    flow: GradientFlow
    data: Samples
    samples: Samples
    loss: Any
    rest: State
    kind: str
    dual: bool


def _constants(t, y, operands: _Operands):
    """The largest gradient, the smallest eigenvalue and the largest part of the metric at one state; if it is one."""
    flow, data, samples, loss, rest, kind, dual = operands
    metric, y = flow.metric.at(t), combine(y, rest)
    velocity = flow.vector_field(t, y, data)
    # Solves that do not wait for each other can hang XLA's thread pool on two cores: the metric's own wait.
    y = combine(jax.tree.map(lambda leaf, moved: leaf + 0 * moved, floats(y), velocity), y)
    length = _dual_length(metric, y, data) if dual else lambda covector: jnp.sqrt(dot(covector, covector))
    mu = jnp.ones((), dtype_of(y)) if dual else _least_eigenvalue(metric, y, data)
    # Replaced, a sample's part moves by twice its distance from the mean at most; left out, by all that it adds.
    origin = metric if kind == "replace-one" else rescaled_metric(metric, 0.0)
    common = origin.flat(y, velocity, data)

    def of_one(sample):
        alone = jax.tree.map(lambda leaf: leaf[None], sample)
        part = jax.tree.map(jnp.subtract, metric.flat(y, velocity, alone), common)
        return length(value_and_covector(loss, y, sample)[1]), length(part)

    kappa, part = jax.lax.map(of_one, samples, batch_size=None if dual else _SAMPLES_AT_ONCE)
    return jnp.max(kappa), mu, jnp.max(part), _is_known(metric, y, data, kind)


def _is_known(metric: AbstractMetric, y: State, data: Samples, kind: str) -> Bool[Array, ""]:
    """Whether what one sample does to the metric is what the bound takes it for."""
    if isinstance(metric, AbstractModularMetric):
        return jnp.array(True)
    # Modular metrics inside of it are means and know their weights.
    others = rescaled_metric(metric, 0.0)
    return is_mean(others, y, data) if kind == "replace-one" else ignores_data(others, y, data)


def _no_mean() -> ValueError:
    return ValueError(
        "`flow` must have a metric that is a mean over the samples, `D + sum of K_i^T K_i / n`, and that of `data` is "
        "not the mean of those of each sample alone: divide the sum by the number of samples that came in `args`."
    )


def _dual_length(metric: AbstractMetric, y: State, args: Args) -> Callable[[Covector], Float[Array, ""]]:
    inverse = inverse_at(metric, y, args)
    return lambda covector: jnp.sqrt(dot(covector, inverse(covector)))


def _least_eigenvalue(metric: AbstractMetric, y: State, args: Args) -> Float[Array, ""]:
    if isinstance(metric, AbstractModularMetric):
        # Exact where a layer has more parameters than the outputs can tell apart, and never too large.
        masses = jax.tree.leaves(metric.mass_at(metric.factors(y, args), y))
        return jnp.min(jnp.stack([jnp.min(mass) for mass in masses]))
    matrix = metric(y, args).as_matrix()
    # Not finite, it has no asymmetry either; the eigenvalues of such a matrix may be finite.
    symmetric = asymmetry(matrix) <= tolerance(matrix.dtype)
    smallest = jnp.linalg.eigvalsh(jnp.where(symmetric, matrix, 0))[0]
    return jnp.where(symmetric, smallest, jnp.nan).astype(dtype_of(y))
