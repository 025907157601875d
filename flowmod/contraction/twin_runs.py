"""What twin runs say: their distances, the envelope that the rates predict, and where a twin does not approach."""

import dataclasses
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..simulate import Ensemble

_ROUNDING = 1e-6
"""How much above the envelope a distance may be, relatively, before it counts."""

_SHOWN = 6
"""Violations that are printed."""


class Violation(NamedTuple):
    """An interval of time in which a twin does not approach.

    Attributes:
        twin: which twin.
        kind: `"grows"`, where its distance grows, or `"above"`, where it is above the envelope.
        start: time.
        end: time.
        factor: by how much the distance grows, or how far it is above the envelope at most.
    """

    twin: int
    kind: str
    start: float
    end: float
    factor: float


@dataclasses.dataclass(frozen=True)
class Twins:
    """A run and its twins, with their distances and the rates between them; `print` it.

    `fm.plot.twins(twins.times, twins.distances, twins.rates)` draws them.

    Attributes:
        times: (T,).
        distances: of each twin from the base run, (twins, T): the length in the metric of the straight segment between
            them, by three Gauss nodes. No shorter than the distance in the metric; the same in a constant metric, and
            to first order in any.
        rates: the least contraction rate on all segments, (T,) in 1/time: at the base run, the twins and the nodes.
        noise: the length of an error of the runs as large as their tolerances, (T,). Of what is smaller than ten times
            that, nothing is said.
        runs: the `fm.Ensemble`: number 0 is the base run, number `i + 1` twin `i`.
    """

    times: Float[np.ndarray, " times"]
    distances: Float[np.ndarray, "twins times"]
    rates: Float[np.ndarray, " times"]
    noise: Float[np.ndarray, " times"]
    runs: Ensemble

    @property
    def envelope(self) -> Float[np.ndarray, " times"]:
        """`exp(-integral of the rates)` by the trapezoidal rule, (T,), in units of the first distance.

        In a constant metric no distance `|e|` is above it, since `d|e|/dt <= -rate |e|` with the least rate on the
        segment; along the base run alone the rates would say so of infinitely near twins only. In a metric that
        depends on the state the segment does not stay straight, which is an error by the square of the distance.
        """
        return np.exp(self._exponent)

    @cached_property
    def violations(self) -> tuple[Violation, ...]:
        """Where a distance grows or is above the envelope, by more than the errors of the runs and of the integral."""
        with np.errstate(divide="ignore"):
            logs = np.log(self.distances / self.distances[:, :1])
            error = np.log1p(10 * self.noise / self.distances) + _ROUNDING
        found = []
        for twin, (log, slack) in enumerate(zip(logs, error, strict=True)):
            rise = log - np.minimum.accumulate(log)
            for first, last in _intervals(rise > slack):
                peak = first + int(np.argmax(log[first:last]))
                start = int(np.argmin(log[:peak]))
                found.append(self._violation(twin, "grows", start, peak, rise[peak]))
            excess = log - self._exponent
            for first, last in _intervals(excess > slack + slack[0] + self._trapezia):
                found.append(self._violation(twin, "above", first, last - 1, excess[first:last].max()))
        return tuple(found)

    @property
    def _exponent(self) -> Float[np.ndarray, " times"]:
        return -_integral(self.times, self.rates)

    @property
    def _trapezia(self) -> Float[np.ndarray, " times"]:
        """How well the integral is known: by how much it was another one on every second time."""
        some = np.unique(np.append(np.arange(0, len(self.times), 2), len(self.times) - 1))
        coarse = -_integral(self.times[some], self.rates[some])
        return np.maximum.accumulate(np.abs(self._exponent - np.interp(self.times, self.times[some], coarse)))

    def _violation(self, twin: int, kind: str, first: int, last: int, log: float) -> Violation:
        return Violation(twin, kind, float(self.times[first]), float(self.times[last]), float(np.exp(log)))

    def __str__(self) -> str:
        first, last = self.distances[:, 0], self.distances[:, -1]
        lines = [
            f"Twins: {len(first)} of a run from {self.times[0]:.6g} to {self.times[-1]:.6g}, {len(self.times)} times",
            f"  distance  {first.max():.3g} -> {last.max():.3g} at most, {last.min() / first[last.argmin()]:.3g} to "
            f"{(last / first).max():.3g} of the first one",
            f"  rates     {self.rates.min() + 0.0:.6g} to {self.rates.max() + 0.0:.6g}, envelope "
            f"{self.envelope[-1]:.3g} at the end",
        ]
        lines += [f"  {self._sentence(violation)}" for violation in self.violations[:_SHOWN]]
        if len(self.violations) > _SHOWN:
            lines.append(f"  ... and {len(self.violations) - _SHOWN} more, see `.violations`.")
        unknown, lost = (np.flatnonzero(x) for x in (np.isnan(self.rates), (self.distances < 10 * self.noise).any(0)))
        if len(unknown):
            lines.append(f"  From t = {self.times[unknown[0]]:.6g} on there is no envelope: no rate is known there.")
        elif not self.violations:
            lines.append("  Every twin approaches at all times, and stays below the envelope.")
        if len(lost):
            lines.append(f"  From t = {self.times[lost[0]]:.6g} on a distance is as small as the errors of the runs.")
        return "\n".join(lines)

    def _sentence(self, violation: Violation) -> str:
        twin, kind, start, end, factor = violation
        where = f"from t = {start:.6g} to {end:.6g}"
        if kind == "above":
            return (
                f"Twin {twin} is above the envelope {where}, by a factor of up to {factor:.6g}: save more times, start "
                "nearer, or integrate to smaller tolerances; the rate does not hold between these runs."
            )
        least = self.rates[(self.times >= start) & (self.times <= end)].min()
        return f"Twin {twin} moves away {where}, by a factor of {factor:.6g}; the least rate there is {least:.4g}."


def _integral(times: Float[np.ndarray, " times"], values: Float[np.ndarray, " times"]) -> Float[np.ndarray, " times"]:
    return np.concatenate([[0.0], np.cumsum(np.diff(times) * (values[1:] + values[:-1]) / 2)])


def _intervals(marked: np.ndarray) -> list[tuple[int, int]]:
    """First index of each run of true entries, and the one behind its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
