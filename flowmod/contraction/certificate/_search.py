"""Branch and bound: boxes on which the rate is proved too small are halved, until the smallest is near the best."""

from typing import NamedTuple

import numpy as np

from ._bounds import (
    Bounds,
    growth_at,
    log_norm_bounds,
    log_norms,
    log_norms_above,
    pencil_bounds,
    pencils_above,
)
from ._program import Program

_CHUNK = 2_000_000
"""Numbers in the bounds of one call's slopes: they set the memory."""

_SAMPLED = 64
"""Boxes per round whose sides are searched for a smaller rate."""


class Growth(NamedTuple):
    """The matrices of a growth rate as a program.

    Attributes:
        program: from the flat state (and the time, if they depend on it) to the matrices' entries.
        derivative: of the program.
        n: numbers of the state.
        norm: 1, 2 or infinity.
    """

    program: Program
    derivative: Program
    n: int
    norm: float

    def rates(self, points: np.ndarray) -> np.ndarray:
        """The rate at points in floats, NaN where it is undefined."""
        if self.norm == 2:
            return -growth_at(self.program, self.n, points)[0][:, -1]
        return -log_norms(self.program, self.n, points, self.norm)

    def bounds(self, lower: np.ndarray, upper: np.ndarray) -> Bounds:
        """Rates that hold on boxes."""
        chunk = max(1, _CHUNK // len(self.derivative.outputs))
        parts = [
            self._bounds(lower[start : start + chunk], upper[start : start + chunk])
            for start in range(0, len(lower), chunk)
        ]
        return Bounds(*(np.concatenate(pieces) for pieces in zip(*parts, strict=True)))

    def _bounds(self, lower, upper):
        if self.norm == 2:
            return pencil_bounds(self.program, self.derivative, self.n, lower, upper)
        return log_norm_bounds(self.program, self.derivative, self.n, lower, upper, self.norm)

    def refutes(self, point: np.ndarray) -> bool:
        """Whether the rate at a point is surely not positive."""
        if self.norm == 2:
            return bool(pencils_above(self.program, self.n, point[None])[0])
        return bool(log_norms_above(self.program, self.n, point[None], self.norm)[0])


class Found(NamedTuple):
    """Where the search ended.

    Attributes:
        lower: (boxes, inputs), of boxes that cover the region.
        upper: (boxes, inputs).
        bounds: what is proved on them.
        best: the smallest rate seen at a point, in floats; NaN if somewhere there is none.
        point: (inputs,) where it was seen.
        refuted: whether the rate there is surely not positive.
        ended: `"reached"`, `"refuted"`, `"not positive"`, `"undefined"`, `"boxes"`, `"width"`: why the search ended.
    """

    lower: np.ndarray
    upper: np.ndarray
    bounds: Bounds
    best: float
    point: np.ndarray
    refuted: bool
    ended: str


def search(growth: Growth, lower: np.ndarray, upper: np.ndarray, rtol: float, max_boxes: int) -> Found:
    """Prove a rate on the box that is within `rtol` of the smallest one seen at any of its points, or say why not."""
    widths = upper - lower
    lower, upper = lower[None], upper[None]
    bounds = growth.bounds(lower, upper)
    best, point = np.inf, (lower + upper)[0] / 2
    fresh = np.arange(1)
    while True:
        value, place = _smallest(growth, lower[fresh], upper[fresh], bounds.points[fresh])
        if not value >= best:
            best, point = value, place
        refuted = bool(best <= 0) and growth.refutes(point)
        failing = np.flatnonzero(~(bounds.rates >= best - rtol * abs(best)))
        ended = _end(best, refuted, len(failing))
        if ended is None:
            middle = lower[failing] / 2 + upper[failing] / 2
            axis = _axis(bounds.influence[failing], (upper - lower)[failing], widths)
            cut = np.take_along_axis(middle, axis[:, None], 1)[:, 0]
            rows = np.arange(len(failing))
            inside = (lower[failing][rows, axis] < cut) & (cut < upper[failing][rows, axis])
            ended = "width" if not inside.all() else "boxes" if len(lower) >= max_boxes else None
        if ended is not None:
            return Found(lower, upper, bounds, float(best), point, refuted, ended)
        worst = np.argsort(bounds.rates[failing], kind="stable")[: max_boxes - len(lower)]
        split, axis, cut = failing[worst], axis[worst], cut[worst]
        halves = _halves(lower[split], upper[split], axis, cut)
        kept = np.setdiff1d(np.arange(len(lower)), split)
        new = growth.bounds(*halves)
        lower, upper = (np.concatenate([old[kept], half]) for old, half in zip((lower, upper), halves, strict=True))
        bounds = Bounds(*(np.concatenate([old[kept], half]) for old, half in zip(bounds, new, strict=True)))
        fresh = np.arange(len(kept), len(lower))


def _end(best: float, refuted: bool, failing: int) -> str | None:
    if np.isnan(best):
        return "undefined"
    if best <= 0:
        return "refuted" if refuted else "not positive"
    return None if failing else "reached"


def _axis(influence: np.ndarray, widths: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The input that costs most, and where the cost is unknown the widest."""
    known = np.all(np.isfinite(influence), axis=1, keepdims=True) & np.any(influence > 0, axis=1, keepdims=True)
    shares = np.divide(widths, whole[None], out=np.zeros_like(widths), where=whole[None] > 0)
    return np.argmax(np.where(known, influence, shares), axis=1)


def _halves(lower: np.ndarray, upper: np.ndarray, axis: np.ndarray, cut: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    here = np.arange(lower.shape[1])[None] == axis[:, None]
    left, right = np.where(here, cut[:, None], upper), np.where(here, cut[:, None], lower)
    return np.concatenate([lower, right]), np.concatenate([left, upper])


def _smallest(growth: Growth, lower: np.ndarray, upper: np.ndarray, points: np.ndarray) -> tuple[float, np.ndarray]:
    """The smallest rate at the midpoints, and in the worst boxes at the centres of the sides and one corner."""
    middle = lower / 2 + upper / 2
    worst = np.argsort(points, kind="stable")[:_SAMPLED]
    centres, inputs = middle[worst], lower.shape[1]
    ends = [np.where(np.eye(inputs, dtype=bool)[None], end[worst][:, None], centres[:, None]) for end in (lower, upper)]
    low, high = (growth.rates(end.reshape(-1, inputs)).reshape(-1, inputs) for end in ends)
    corners = np.where(low <= high, lower[worst], upper[worst])
    places = np.concatenate([middle, *(end.reshape(-1, inputs) for end in ends), corners])
    rates = np.concatenate([points, low.ravel(), high.ravel(), growth.rates(corners)])
    # A NaN wins: where there is no rate, nothing can be proved.
    first = int(np.argmin(rates))
    return float(rates[first]), places[first]
