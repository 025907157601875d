"""A bound on algorithmic stability from constants: contraction forgets one sample as fast as it pushes."""

import dataclasses
import math
from typing import Any

import numpy as np

from ._checks import check_kind, check_number, check_sizes, check_time, whole_steps


@dataclasses.dataclass(frozen=True)
class StabilityBound:
    """By how much one sample can change the loss of any sample, as far as the constants hold.

    Attributes:
        n: samples, a number or (sizes,), as are the next four.
        beta: the bound on the change of a loss.
        distance: the bound on the distance between the two runs, in the metric.
        gradient_term: the part of `beta` that comes from the changed gradient.
        metric_term: the part of `beta` that comes from the changed metric.
        time_factor: `(1 - exp(-rate t)) / rate`: a time, at most `1 / rate` where the flow contracts.
        kind: `"replace-one"` or `"leave-one-out"`.
        measured: whether the constants are estimates along one run.
        assumptions: what must hold for the bound to be one, sentences.
    """

    n: np.ndarray
    beta: np.ndarray
    distance: np.ndarray
    gradient_term: np.ndarray
    metric_term: np.ndarray
    time_factor: float
    kind: str
    measured: bool
    assumptions: tuple[str, ...]

    @property
    def expected_gap(self) -> np.ndarray:
        """Bound on the expected difference of the loss on new samples and on those of the run.

        It is `beta` if that bounds the replacement of a sample, and twice as much if it bounds the loss of one.

        Reference: O. Bousquet and A. Elisseeff, "Stability and generalization" (2002).
        """
        return self.beta * (1 if self.kind == "replace-one" else 2)

    def gap(self, delta: float, largest_loss: float) -> np.ndarray:
        """Bound on that difference which holds with probability `1 - delta` over the data.

        Args:
            delta: the probability that it fails, between 0 and 1.
            largest_loss: `B`, where all losses are between 0 and `B`.

        Returns:
            `b + (2 n b + B) sqrt(log(1/delta) / (2 n))`, with `b` the expected gap, in the shape of `n`.

        Raises:
            ValueError: if `delta` is not between 0 and 1, or `largest_loss` is not positive.

        Reference: O. Bousquet and A. Elisseeff, "Stability and generalization" (2002).
        """
        if not 0 < check_number("delta", delta) < 1:
            raise ValueError(f"`delta` must be a probability between 0 and 1, got {delta!r}.")
        largest = check_number("largest_loss", largest_loss, above=0.0)
        spread = 2 * self.n * self.expected_gap + largest
        return self.expected_gap + spread * np.sqrt(math.log(1 / delta) / (2 * self.n))

    def __str__(self) -> str:
        name = "Estimate of the stability bound" if self.measured else "Stability bound"
        lines = [f"{name}, {self.kind}: a loss changes by at most"]
        terms = np.broadcast_arrays(np.atleast_1d(self.n), self.beta, self.gradient_term, self.metric_term)
        lines += [
            f"  {beta:9.3g}  for n = {n} ({gradient:.3g} by the gradient, {metric:.3g} by the metric)"
            for n, beta, gradient, metric in zip(*terms, strict=True)
        ]
        return "\n".join([*lines, "if", *(f"  - {sentence}" for sentence in self.assumptions)])


def stability_bound(
    kappa: Any,
    rate: Any,
    mu: Any,
    n: Any,
    t: Any = math.inf,
    *,
    step_size: Any = None,
    metric_term: Any = 0.0,
    metric_bounds: tuple[Any, Any] | None = None,
    kind: str = "replace-one",
    measured: bool = False,
) -> StabilityBound:
    """By how much one of `n` samples can change the loss of any sample: `2 kappa^2 Lam / (mu n)`.

    Two flows `M y' = -grad f` on data that differ in one sample are pushed apart by at most `2 kappa / (n sqrt mu)` in
    the metric, and pulled together at the rate of contraction: after the time `t` they are no further apart than
    `Lam = (1 - exp(-rate t)) / rate` times that. No condition number of the metric appears. Without contraction the
    same formula grows exponentially, and is infinite for an infinite time.

    The constants must hold for all data sets and wherever runs may come: what was measured along one run
    (`fm.stability_constants`) makes an estimate of a bound.

    Args:
        kappa: the largest length of the gradient of one sample's loss, without a regularizer, Euclidean. With
            `mu=1.0` it may be the dual length, `sqrt(g^T M^-1 g)`.
        rate: the contraction rate in the metric, 1/time, of either sign.
        mu: the smallest eigenvalue of the metric.
        n: samples, a whole number from 2 or an array of them.
        t: how long the runs take.
        step_size: of Euler's method, for a discrete optimizer in place of the flow: each step then shrinks distances
            by `rho = 1 - step_size rate`, and `Lam = step_size (1 - rho^k) / (1 - rho)` after `k = t / step_size`
            steps. For another factor `rho` give `rate=(1 - rho) / step_size`. Only for a rate in a metric that is the
            same at all states and times: in another one a push may end where lengths are others than where it began.
        metric_term: where the metric is made from the data, the largest length of `K_i^T K_i y'` for a metric `D + sum
            of K_i^T K_i / n`; at most the square of the largest singular value of any `K_i` times the largest speed.
            It adds to `kappa` in the push: leaving it out may leave out most of it.
        metric_bounds: `(a, b)` with `a I <= P <= b I`, if the rate is that in another metric `P` than the flow's own.
        kind: `"replace-one"`, or `"leave-one-out"` where the sample is left out and the others keep the weight `1/n`:
            half the push.
        measured: whether the constants were measured along a run; the result then says so.

    Returns:
        A `StabilityBound`, with the generalisation gap that follows.

    Raises:
        ValueError: if a constant is not a finite number of its sign, `step_size * rate` is above 1, or `t` is not a
            whole number of steps.

    Reference: O. Bousquet and A. Elisseeff, "Stability and generalization" (2002); L. Kozachkov, P. Wensing and
    J.-J. E. Slotine, "Generalization as dynamical robustness" (2023), on contraction and stability.
    """
    kappa, metric_term = check_number("kappa", kappa, least=0.0), check_number("metric_term", metric_term, least=0.0)
    rate, mu = check_number("rate", rate), check_number("mu", mu, above=0.0)
    t, sizes = check_time("t", t), check_sizes("n", n)
    a, b = (mu, mu) if metric_bounds is None else _check_metric_bounds(metric_bounds)
    factor = _time_factor(rate, t) if step_size is None else _step_factor(rate, t, _check_step(step_size, rate))
    pushes = 2 if check_kind(kind) == "replace-one" else 1
    # In its own metric |M^-1 g|_M <= |g| / sqrt(mu); in another one |M^-1 g|_P <= sqrt(b) |g| / mu.
    unit = _product(factor, pushes * math.sqrt(b) / (mu * sizes))
    reach = kappa / math.sqrt(a)
    return StabilityBound(
        n=sizes,
        beta=_product(reach * (kappa + metric_term), unit),
        distance=_product(kappa + metric_term, unit),
        gradient_term=_product(reach * kappa, unit),
        metric_term=_product(reach * metric_term, unit),
        time_factor=factor,
        kind=kind,
        measured=measured,
        assumptions=_assumptions(kappa, rate, mu, t, step_size, metric_term, metric_bounds, kind, measured),
    )


def _check_step(step_size: Any, rate: float) -> float:
    """A positive step in which distances keep their sign at the rate."""
    step = check_number("step_size", step_size, above=0.0)
    if step * rate > 1:
        raise ValueError(
            f"`rate` must be at most 1 / step_size = {1 / step:.3g} in steps, got {rate:.3g}: with `rho` the factor by "
            "which a step shrinks distances it is `(1 - rho) / step_size`."
        )
    return step


def _time_factor(rate: float, t: float) -> float:
    """`(1 - exp(-rate t)) / rate`, and `t` for none."""
    if rate == 0:
        return t
    with np.errstate(over="ignore"):
        return float(-np.expm1(-rate * np.float64(t)) / rate)


def _step_factor(rate: float, t: float, step: float) -> float:
    """`step (1 - rho^k) / (1 - rho)` with `rho = 1 - step rate`."""
    count = whole_steps("t", t, step) if t < math.inf else math.inf
    if rate == 0:
        return t
    with np.errstate(over="ignore", divide="ignore"):
        return float(-np.expm1(count * np.log1p(-step * rate)) / rate)


def _product(a: Any, b: Any) -> Any:
    """`a b`, zero where one is zero: without a push runs stay together for ever."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where((np.asarray(a) == 0) | (np.asarray(b) == 0), 0.0, np.multiply(a, b))


def _check_metric_bounds(bounds: Any) -> tuple[float, float]:
    try:
        lower, upper = bounds
    except (TypeError, ValueError):
        raise ValueError(f"`metric_bounds` must be (a, b) with a I <= P <= b I, got {bounds!r}.") from None
    lower = check_number("metric_bounds[0]", lower, above=0.0)
    return lower, check_number("metric_bounds[1]", upper, least=lower)


def _assumptions(kappa, rate, mu, t, step_size, metric_term, metric_bounds, kind, measured) -> tuple[str, ...]:
    which = (
        "its own metric" if metric_bounds is None else f"a metric between {metric_bounds[0]} I and {metric_bounds[1]} I"
    )
    moves = "the flow contracts" if step_size is None else f"each step of {step_size:g} contracts"
    data = (
        f"the metric is made from the data, and one sample's part of it pushes by at most {metric_term:.4g}"
        if metric_term
        else "the metric does not depend on the data"
    )
    change = "is replaced" if kind == "replace-one" else "is left out, and the others keep the weight 1/n"
    sentences = [
        f"one sample of n {change}, and both runs have the same start and the time {t:g}",
        f"{moves} in {which} at a rate of at least {rate:.4g}, for every such data set and all states between the runs",
        f"no gradient of one sample's loss is longer than {kappa:.4g}, there",
        f"the metric is at least {mu:.4g} times the identity",
        data,
    ]
    if step_size is not None:
        sentences.append("the metric it contracts in is the same at all states and times")
    if measured:
        sentences.append("the constants, which were measured along one run, hold elsewhere too: an estimate, no proof")
    return tuple(sentences)
