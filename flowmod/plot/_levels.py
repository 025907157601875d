"""Levels for the contours of a potential that has more than one basin, however shallow.

Even steps between the lowest and the highest value show the walls and nothing of the floor: a barrier may be a
thousandth of the range. Here most levels are quantiles of what is seen, denser towards the bottom, and each basin gets
levels of its own up to its pass, the height at which it overflows into a deeper one.
"""

import dataclasses

import numpy as np

_QUANTILES = np.linspace(0, 1, 12) ** 1.5
_RUNGS = (1 / 3, 2 / 3, 1.0)
_MOST_BASINS = 4


@dataclasses.dataclass(frozen=True)
class Basin:
    """A basin of a potential on a grid: its lowest value, and the one at which it overflows into a deeper basin."""

    bottom: float
    brim: float


def contour_levels(values: np.ndarray) -> np.ndarray:
    """Ascending levels for `contourf`, from the lowest to the highest finite value of a grid (n, m).

    Raises:
        ValueError: if no value is finite.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("`flow.potential` is nowhere finite in `box`: move the box to where the potential is defined.")
    levels = [float(np.quantile(finite, q)) for q in _QUANTILES]
    for basin in basins(values)[:_MOST_BASINS]:
        levels += [basin.bottom + rung * (basin.brim - basin.bottom) for rung in _RUNGS]
    levels = np.unique(levels)
    apart = 1e-6 * (levels[-1] - levels[0])
    kept = levels[np.concatenate([[True], np.diff(levels) > apart])]
    # A potential that is constant as far as can be seen still has a band to be filled.
    return kept if len(kept) > 1 else kept[0] + np.array([-0.5, 0.5]) * max(abs(kept[0]), 1.0)


def basins(values: np.ndarray) -> list[Basin]:
    """All basins of a grid but the deepest, which has no pass, by falling depth.

    The grid is flooded from below. A puddle that touches a deeper one has found its pass. Basins shallower than the
    step from their bottom to a neighbour are the grid's own: a narrow slanted valley seems to have many.
    """
    rows, columns = values.shape
    padded = np.full((rows + 2, columns + 2), np.inf)
    padded[1:-1, 1:-1] = np.where(np.isfinite(values), values, np.inf)
    heights, width = padded.ravel(), columns + 2
    around = np.array([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1])
    puddle = np.full(heights.size, -1)
    found: list[Basin] = []

    def bottom_of(place: int) -> int:
        while puddle[place] != place:
            puddle[place] = puddle[puddle[place]]
            place = puddle[place]
        return place

    for place in np.argsort(heights, kind="stable")[: int(np.isfinite(heights).sum())]:
        touched = {bottom_of(near) for near in place + around if puddle[near] >= 0}
        # The deepest takes the others; the order of the flood breaks ties.
        deepest = min(touched, key=lambda bottom: heights[bottom], default=place)
        puddle[place] = deepest
        for bottom in touched - {deepest}:
            puddle[bottom] = deepest
            steps = heights[bottom + around] - heights[bottom]
            if heights[place] - heights[bottom] > steps[np.isfinite(steps)].max():
                found.append(Basin(float(heights[bottom]), float(heights[place])))
    return sorted(found, key=lambda basin: basin.bottom - basin.brim)
