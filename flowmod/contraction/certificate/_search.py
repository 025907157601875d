"""Branch and bound: boxes on which the rate is proved too small are halved, until the smallest is near the best."""

from typing import NamedTuple

import numpy as np

from ._bounds import (
    Bounds,
    growth_at,
    log_norm_bounds,
    log_norms,
    log_norms_grow,
    pencil_bounds,
    pencils_grow,
)
from ._program import Program

_CHUNK = 2_000_000
"""Numbers in the bounds of one call's slopes: they set the memory."""

_SAMPLED = 64
"""Boxes per round whose sides are searched for a smaller rate."""

_TRIED = 16
"""Points that a disproof is tried at."""

_NARROWEST = 2.0**-40
"""Boxes narrower than this share of the region are not halved: something jumps there, or is not defined."""

_AROUND = 2.0 ** -np.array([10, 20, 30, 40])
"""Shares of the region's widths: boxes as wide, around a point, are tried for a disproof."""


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

    def refuted(self, point: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray | None:
        """The corners of a small box around a point of a region in which the rate is nowhere positive, or `None`.

        At a point alone a kink would have the slope of one side, or of none.
        """
        reach = _AROUND[:, None] * (upper / 2 - lower / 2)
        low, high = np.maximum(point - reach, lower), np.minimum(point + reach, upper)
        if self.norm == 2:
            grows = pencils_grow(self.program, self.n, np.tile(point, (len(reach), 1)), low, high)
        else:
            grows = log_norms_grow(self.program, self.n, low, high, self.norm)
        found = np.flatnonzero(grows & (low < high).all(axis=1))
        return np.stack([low[found[0]], high[found[0]]]) if len(found) else None


class Found(NamedTuple):
    """Where the search ended.

    Attributes:
        lower: (boxes, inputs), of boxes that cover the region.
        upper: (boxes, inputs).
        bounds: what is proved on them.
        best: the smallest rate seen at a point, in floats; NaN if somewhere there is none.
        point: (inputs,) where it was seen.
        around: (2, inputs) the corners of a box around it in which the rate is surely nowhere positive, or `None`.
        ended: `"reached"`, `"refuted"`, `"not positive"`, `"undefined"`, `"boxes"`, `"width"`: why the search ended.
    """

    lower: np.ndarray
    upper: np.ndarray
    bounds: Bounds
    best: float
    point: np.ndarray
    around: np.ndarray | None
    ended: str


def search(growth: Growth, lower: np.ndarray, upper: np.ndarray, rtol: float, max_boxes: int) -> Found:
    """Prove a rate on the box that is within `rtol` of the smallest one seen at any of its points, or say why not."""
    region, halves = (lower, upper), upper / 2 - lower / 2
    lower, upper = lower[None], upper[None]
    bounds = growth.bounds(lower, upper)
    best, point = np.inf, (lower / 2 + upper / 2)[0]
    fresh = np.arange(1)
    while True:
        rates, places = _seen(growth, lower[fresh], upper[fresh], bounds.points[fresh])
        first, around = int(np.argmin(rates)), None  # a NaN wins: where there is no rate, nothing can be proved
        if not rates[first] >= best:
            best, point = float(rates[first]), places[first]
        if best <= 0:
            best, point, around = _disproof(growth, rates, places, region)
        failing = np.flatnonzero(~(bounds.rates >= best - rtol * abs(best)))
        ended = _end(best, around is not None, len(failing))
        if ended is None:
            middle = lower[failing] / 2 + upper[failing] / 2
            widths = upper[failing] / 2 - lower[failing] / 2
            axis = _axis(bounds.influence[failing], widths, halves)
            cut = np.take_along_axis(middle, axis[:, None], 1)[:, 0]
            rows = np.arange(len(failing))
            inside = (lower[failing][rows, axis] < cut) & (cut < upper[failing][rows, axis])
            wide = widths[rows, axis] > _NARROWEST * halves[axis]
            ended = "width" if not (inside & wide).all() else "boxes" if len(lower) >= max_boxes else None
        if ended is not None:
            return Found(lower, upper, bounds, best, point, around, ended)
        worst = np.argsort(bounds.rates[failing], kind="stable")[: max_boxes - len(lower)]
        split, axis, cut = failing[worst], axis[worst], cut[worst]
        new_lower, new_upper = _halves(lower[split], upper[split], axis, cut)
        kept = np.setdiff1d(np.arange(len(lower)), split)
        new = growth.bounds(new_lower, new_upper)
        lower, upper = np.concatenate([lower[kept], new_lower]), np.concatenate([upper[kept], new_upper])
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


def _disproof(growth: Growth, rates: np.ndarray, places: np.ndarray, region: tuple[np.ndarray, np.ndarray]):
    """The smallest rate with a box that disproves, its place and the box; if none has one, the smallest without.

    At a kink the rate is that of one side, or of none: then another point decides.
    """
    tried = np.argsort(rates, kind="stable")[:_TRIED]
    for i in tried[rates[tried] <= 0]:
        around = growth.refuted(places[i], *region)
        if around is not None:
            return float(rates[i]), places[i], around
    return float(rates[tried[0]]), places[tried[0]], None


def _seen(growth: Growth, lower: np.ndarray, upper: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rates, and where: at the midpoints, and in the worst boxes at the centres of the sides and one corner."""
    middle = lower / 2 + upper / 2
    worst = np.argsort(points, kind="stable")[:_SAMPLED]
    centres, inputs = middle[worst], lower.shape[1]
    ends = [np.where(np.eye(inputs, dtype=bool)[None], end[worst][:, None], centres[:, None]) for end in (lower, upper)]
    low, high = (growth.rates(end.reshape(-1, inputs)).reshape(-1, inputs) for end in ends)
    corners = np.where(low <= high, lower[worst], upper[worst])
    places = np.concatenate([middle, *(end.reshape(-1, inputs) for end in ends), corners])
    rates = np.concatenate([points, low.ravel(), high.ravel(), growth.rates(corners)])
    return rates, places
