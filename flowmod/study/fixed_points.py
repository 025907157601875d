"""Equilibria as a table, and the heights of the passes between the valleys of a potential."""

from typing import Any, NamedTuple

import jax
import numpy as np

from .._tree import label_of
from ..flow import Equilibria, FixedPoint


class Barrier(NamedTuple):
    """The height of a saddle above a stable equilibrium.

    With one saddle between two valleys it is what a fluctuation has to climb to leave. Of several saddles, which one
    bounds a valley is not decided here.
    """

    minimum: FixedPoint
    saddle: FixedPoint
    height: float


def barriers(equilibria: Equilibria) -> list[Barrier]:
    """The height of every saddle above every lower stable equilibrium, the lowest barrier first."""
    pairs = [(minimum, saddle) for minimum in equilibria.stable for saddle in equilibria.saddles]
    found = [
        Barrier(minimum, saddle, saddle.potential - minimum.potential)
        for minimum, saddle in pairs
        if saddle.potential is not None and minimum.potential is not None
    ]
    return sorted((barrier for barrier in found if barrier.height > 0), key=lambda barrier: barrier.height)


def numbers_by_name(point: FixedPoint) -> dict[str, float]:
    """The numbers of a fixed point's state: `u`, `layers.0.bias[2]`, or `y` for a bare number."""
    return {
        (label_of(path) or "y") + (f"[{','.join(map(str, index))}]" if index else ""): float(leaf[index])
        for path, leaf in jax.tree.leaves_with_path(point.state)
        for index in np.ndindex(np.shape(leaf))
    }


def to_dataframe(equilibria: Equilibria) -> Any:
    """A `pandas.DataFrame` with a row for each equilibrium: state, stability, leading eigenvalue, potential."""
    import pandas as pd

    rows = []
    for point in equilibria:
        leading = complex(point.eigenvalues[0])
        rows.append(
            numbers_by_name(point)
            | {"stability": point.stability, "eigenvalue": leading.real, "eigenvalue_imaginary": leading.imag}
            | ({} if point.potential is None else {"potential": point.potential})
        )
    return pd.DataFrame(rows).rename_axis("equilibrium")
