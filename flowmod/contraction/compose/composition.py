"""What a composition of modules is known to do: its rate, the metric that achieves it, and what limits it."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Composition:
    """The rate of a whole, from the rates of its modules; `print` it. A proved one is a certificate of further ones.

    Attributes:
        rate: the whole contracts at least this fast, 1/time. It may be negative: then this metric shows nothing.
        weights: `P_i` of the metric blkdiag(`P_i M_i`) that achieves the rate, (N,), the first one 1. For an assembled
            system `system.weighted(weights)` is the system in that metric.
        condition: `sqrt(max P / min P)`, what the metric costs: distances in the modules' own metrics stay below
            `condition * exp(-rate t)` times the first one.
        limiting: what limits the rate: the module `i`, or the coupling `(i, j)` of `j` into `i` where the couplings
            cost more than a tenth of the slowest module's rate.
        headroom: the factor by which all gains may grow together until the same row gives a rate of zero: infinite
            where no gain limits, below 1 where the rate is negative, 0 where a module does not contract on its own.
        supremum: the rate that weights farther apart come close to; equal to `rate` where it is attained.
        corners: where the rate is proved, if all rates came from certificates, else `None`: (2, n), lower and upper
            corners of the product of the modules' boxes, in the order of the modules. The rate holds while runs stay
            there. Gains are taken at their word, and inputs must only be added to the modules' velocities.
        times: `(t0, t1)`, when it is proved, where that is not for all times.
        metric: the matrix of the metric where it is not block diagonal, else `None`.
    """

    rate: float
    weights: Float[np.ndarray, " N"]
    condition: float
    limiting: int | tuple[int, int]
    headroom: float
    supremum: float
    corners: Float[np.ndarray, "2 n"] | None = None
    times: tuple[float, float] | None = None
    metric: Float[np.ndarray, "n n"] | None = None

    # What a composition asks of a proof: this metric is one of weights and constant metrics of modules.
    norm: ClassVar[float] = 2
    constant_metric: ClassVar[bool] = True
    metric_program: ClassVar[None] = None

    @property
    def proved(self) -> bool:
        """Whether all rates came from certificates."""
        return self.corners is not None

    @property
    def status(self) -> str:
        """`"proved"`, or `"unproved"` if a rate was a number."""
        return "proved" if self.proved else "unproved"

    def __str__(self) -> str:
        verdict = "contracting" if self.rate > 0 else "not shown to contract"
        source = "proved from certificates" if self.proved else "from numbers, not from certificates"
        weights = _numbers(self.weights)
        metric = f"weights {weights}" if self.metric is None else f"a metric of shape {self.metric.shape}"
        lines = [
            f"rate {self.rate:.6g} (1/time): {verdict}, {source}",
            *self._conditions(),
            f"{metric}, condition {self.condition:.4g}",
            f"limited by {self._limit()}; {self._room()}",
        ]
        if self.supremum - self.rate > 1e-6 * max(abs(self.supremum), abs(self.rate)):
            lines.append(f"weights farther apart come close to {self.supremum:.6g}")
        return "\n".join(lines)

    def _conditions(self) -> list[str]:
        """Under what a proved rate holds."""
        if self.corners is None:
            return []
        lower, upper = map(_numbers, self.corners)
        when = "" if self.times is None else f", for t in [{self.times[0]:.6g}, {self.times[1]:.6g}]"
        return [
            f"while runs stay in the product of the boxes, {lower} to {upper}{when},",
            "if inputs are only added to the velocities",
        ]

    def _limit(self) -> str:
        if isinstance(self.limiting, tuple):
            return "the coupling of module {1} into module {0}".format(*self.limiting)
        return f"module {self.limiting}"

    def _room(self) -> str:
        if self.headroom == float("inf"):
            return "no gain is too large"
        if self.headroom == 0:
            return "no gain is small enough"
        return f"all gains {'may grow' if self.headroom >= 1 else 'have to shrink'} by a factor of {self.headroom:.4g}"


def _numbers(values: np.ndarray) -> str:
    return np.array2string(values, precision=4, threshold=8, edgeitems=3)
