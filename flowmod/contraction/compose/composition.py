"""What a composition of modules is known to do: its rate, the metric that achieves it, and what limits it."""

import dataclasses

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
        proved: whether all rates came from certificates. Gains are taken at their word.
        metric: the matrix of the metric where it is not block diagonal, else `None`.
    """

    rate: float
    weights: Float[np.ndarray, " N"]
    condition: float
    limiting: int | tuple[int, int]
    headroom: float
    supremum: float
    proved: bool
    metric: Float[np.ndarray, "n n"] | None = None

    @property
    def status(self) -> str:
        """`"proved"`, or `"unproved"` if a rate was a number."""
        return "proved" if self.proved else "unproved"

    def __str__(self) -> str:
        verdict = "contracting" if self.rate > 0 else "not shown to contract"
        source = "proved from certificates" if self.proved else "from numbers, not from certificates"
        weights = np.array2string(self.weights, precision=4, threshold=8, edgeitems=3)
        metric = f"weights {weights}" if self.metric is None else f"a metric of shape {self.metric.shape}"
        lines = [
            f"rate {self.rate:.6g} (1/time): {verdict}, {source}",
            f"{metric}, condition {self.condition:.4g}",
            f"limited by {self._limit()}; {self._room()}",
        ]
        if self.supremum - self.rate > 1e-6 * max(abs(self.supremum), abs(self.rate)):
            lines.append(f"weights farther apart come close to {self.supremum:.6g}")
        return "\n".join(lines)

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
