"""Does a box keep what is in it? The field on its faces, enclosed in intervals."""

from typing import NamedTuple

import numpy as np

from ._intervals import enclose, enclose_mean_value
from ._program import Program


class Face(NamedTuple):
    """A part of one face of a box.

    Attributes:
        axis: which number of the state is at its limit.
        side: `"lower"` or `"upper"`.
        lower: (inputs,) the corner of the part, with the time where the field depends on it.
        upper: (inputs,) the other one.
    """

    axis: int
    side: str
    lower: np.ndarray
    upper: np.ndarray


class Invariance(NamedTuple):
    """Whether trajectories that start in the box stay in it.

    Proved, because the box is convex: on every face the outward component of the field is nowhere positive, for all
    times asked for, which is enough for a field with unique solutions (Nagumo).

    Attributes:
        status: `"proved"`, `"disproved"` (the field leaves at `witness`) or `"undecided"`.
        program: the field, from the flat state (and the time) to its components.
        faces: the parts that the proof goes by; together all faces of the box.
        witness: a point of a face at which the field surely points out of the box, or `None`.
        worst: the largest outward component that could not be excluded, in [state]/time.
    """

    status: str
    program: Program
    faces: tuple[Face, ...]
    witness: Face | None
    worst: float

    def __str__(self) -> str:
        if self.status == "proved":
            return "Trajectories that start in the box stay in it (proved on its faces)."
        if self.witness is not None:
            place = np.array2string(self.witness.lower, precision=6)
            return f"The box is not invariant: at {place} the field leaves it."
        return (
            f"Whether trajectories stay in the box is undecided: an outward component up to {self.worst:.3g} was not "
            "excluded on its faces (a slightly larger box helps if that is rounding). The rate holds while they stay."
        )


def invariance_of(
    program: Program, derivative: Program, n: int, lower: np.ndarray, upper: np.ndarray, max_boxes: int
) -> Invariance:
    """Enclose the outward component of a field on the faces of a box, which are halved until the sign is known.

    Args:
        program: the field.
        derivative: its derivative.
        n: the numbers of the state; a further input is the time.
        lower: (inputs,) the lower corner.
        upper: (inputs,) the upper corner.
        max_boxes: how many parts of faces at most.
    """
    axes, outer, low, high = _faces(n, lower, upper)
    done: list[Face] = []
    while True:
        limits = _outward(enclose_mean_value(program, derivative, low, high), axes, outer)[1]
        inside = limits <= 0
        done += _as_faces(axes[inside], outer[inside], low[inside], high[inside])
        axes, outer, low, high, limits = (part[~inside] for part in (axes, outer, low, high, limits))
        if not len(axes):
            return Invariance("proved", program, tuple(done), None, 0.0)
        rest = _as_faces(axes, outer, low, high)
        for points in (low / 2 + high / 2, low, high):
            escapes = np.flatnonzero(_outward(enclose(program, points, points), axes, outer)[0] > 0)
            if len(escapes):
                [witness] = _as_faces(*(part[escapes[:1]] for part in (axes, outer, points, points)))
                return Invariance("disproved", program, (*done, *rest), witness, float(limits.max()))
        widths = (high - low) / (upper - lower)[None]
        axis = np.argmax(widths, axis=1)
        if len(done) + 2 * len(axes) > max_boxes or widths.max() < 1e-9:
            return Invariance("undecided", program, (*done, *rest), None, float(limits.max()))
        here = np.arange(len(lower))[None] == axis[:, None]
        middle = low / 2 + high / 2
        low, high = (
            np.concatenate([low, np.where(here, middle, low)]),
            np.concatenate([np.where(here, middle, high), high]),
        )
        axes, outer = np.tile(axes, 2), np.tile(outer, 2)


def _faces(n: int, lower: np.ndarray, upper: np.ndarray):
    axes, outer = np.tile(np.arange(n), 2), np.repeat([False, True], n)
    here = np.arange(len(lower))[None] == axes[:, None]
    low = np.where(here & outer[:, None], upper, lower)
    high = np.where(here & ~outer[:, None], lower, upper)
    return axes, outer, low, high


def _outward(components, axes: np.ndarray, outer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the component of the field that points out of each face."""
    low, high = (np.take_along_axis(bound, axes[:, None], 1)[:, 0] for bound in components)
    return np.where(outer, low, -high), np.where(outer, high, -low)


def _as_faces(axes, outer, low, high) -> list[Face]:
    sides = ("lower", "upper")
    return [Face(int(a), sides[int(o)], x, y) for a, o, x, y in zip(axes, outer, low, high, strict=True)]
