"""The box to draw: a flow's own, wide enough for a run."""

from functools import partial
from typing import Any

import jax
import numpy as np

from .models import Box
from .target import Target

_DECADES = 3.5
"""How far down a logarithmic axis goes where the box begins at zero."""


def view_of(target: Target, box: Box | None, place: Any = None) -> Box:
    """A box of positions that holds `box` and, with some room, the places of a run; one of the two must be given."""
    spans = [] if box is None else [box]
    if place is not None:
        spans.append((jax.tree.map(partial(_edge, side=-1), place), jax.tree.map(partial(_edge, side=1), place)))
    lowers, uppers = zip(*spans, strict=True)
    lower = jax.tree.map(lambda *leaves: np.minimum.reduce(leaves), *lowers)
    upper = jax.tree.map(lambda *leaves: np.maximum.reduce(leaves), *uppers)
    if target.scale == "log":
        lower = jax.tree.map(lambda low, high: np.maximum(low, high / 10**_DECADES), lower, upper)
    return lower, upper


def _edge(values: np.ndarray, side: int) -> np.ndarray:
    low, high = values.min(axis=0), values.max(axis=0)
    room = np.where(high > low, 0.1 * (high - low), 1.0)
    return high + room if side > 0 else low - room
