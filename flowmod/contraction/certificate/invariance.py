"""Does a box keep what is in it? The field on its faces, and its slopes in and around it, enclosed in intervals."""

from typing import NamedTuple

import numpy as np

from ._inputs import jump_conditions, with_outputs
from ._intervals import enclose, enclose_mean_value
from ._program import Program

_NARROW = 1e-9


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

    Proved, because the box is convex, by two facts that hold for all times asked for. On every face the outward
    component of the field is nowhere positive. And the field is Lipschitz on the box, and a little beyond the faces on
    which the outward component may be zero: so nothing can slip out along them (Nagumo; the squared distance to the
    box grows at most at the rate of a Lipschitz constant, from zero).

    Attributes:
        status: `"proved"`, `"disproved"` (the field leaves at `witness`) or `"undecided"`.
        program: the field, from the flat state (and the time) to its components; then the conditions that must not
            change for it to be continuous.
        faces: the parts that the proof goes by; together all faces of the box.
        pieces: (pieces, 2, inputs) lower and upper corners of boxes on each of which the field is Lipschitz, which
            cover the box and what is needed beyond it; none if the faces did not suffice.
        witness: a small box around a point of a face, in all of which the field points out of that face, or `None`.
        obstacle: (2, inputs) a small box in which the field may jump or have no finite slope, or `None`.
        worst: the largest outward component that could not be excluded, in [state]/time.
    """

    status: str
    program: Program
    faces: tuple[Face, ...]
    pieces: np.ndarray
    witness: Face | None
    obstacle: np.ndarray | None
    worst: float

    def __str__(self) -> str:
        if self.status == "proved":
            return "Trajectories that start in the box stay in it (proved on its faces; the field is Lipschitz there)."
        if self.witness is not None:
            return f"The box is not invariant: at {_place(self.witness.lower, self.witness.upper)} the field leaves it."
        if self.obstacle is not None:
            return (
                "Whether trajectories stay in the box is undecided: no outward component on its faces, but near "
                f"{_place(*self.obstacle)} the field may jump, or have no finite slope, so that trajectories may not "
                "be unique. The rate holds while they stay."
            )
        return (
            f"Whether trajectories stay in the box is undecided: an outward component up to {self.worst:.3g} was not "
            "excluded on its faces (a slightly larger box helps if that is rounding). The rate holds while they stay."
        )


def invariance_of(
    program: Program, derivative: Program, n: int, lower: np.ndarray, upper: np.ndarray, max_boxes: int
) -> Invariance:
    """Enclose a field on the faces of a box and its slopes in the box, in parts that are halved until it is known.

    Args:
        program: the field.
        derivative: its derivative, as `jacobian_of` makes it.
        n: the numbers of the state; a further input is the time.
        lower: (inputs,) the lower corner.
        upper: (inputs,) the upper corner.
        max_boxes: how many parts of faces at most, and as many of the box.
    """
    whole = with_outputs(program, program.outputs + jump_conditions(program, range(n)))
    none = np.empty((0, 2, len(lower)))
    faces, limits, witness = _faces_inward(program, derivative, n, lower, upper, max_boxes)
    worst = float(limits.max())
    if worst > 0:
        return Invariance("disproved" if witness else "undecided", whole, faces, none, witness, None, worst)
    # From a face on which the field points strictly inward nothing leaves, whatever is beyond it.
    low, high = lower.copy(), upper.copy()
    for face, limit in zip(faces, limits, strict=True):
        if limit == 0:
            corner, outside = (high, np.inf) if face.side == "upper" else (low, -np.inf)
            corner[face.axis] = np.nextafter((upper if face.side == "upper" else lower)[face.axis], outside)
    pieces, obstacle = _lipschitz_pieces(whole, derivative, n, low, high, max_boxes)
    return Invariance("undecided" if obstacle is not None else "proved", whole, faces, pieces, None, obstacle, worst)


def _faces_inward(program, derivative, n, lower, upper, max_boxes) -> tuple[tuple[Face, ...], np.ndarray, Face | None]:
    """Parts of the faces, the largest outward component on each, and where the field surely leaves."""
    axes, outer, low, high = _faces(n, lower, upper)
    done: list[Face] = []
    largest: list[float] = []
    while True:
        limits = _outward(enclose_mean_value(program, derivative, low, high), axes, outer)[1]
        inside = limits <= 0
        done += _as_faces(axes[inside], outer[inside], low[inside], high[inside])
        largest += limits[inside].tolist()
        axes, outer, low, high, limits = (part[~inside] for part in (axes, outer, low, high, limits))
        if not len(axes):
            return tuple(done), np.array(largest), None
        witness = _escape(program, axes, outer, low, high)
        parts, narrow = _halved(low, high, lower, upper)
        if witness or narrow or len(done) + len(parts[0]) > max_boxes:
            return (*done, *_as_faces(axes, outer, low, high)), np.array([*largest, *limits]), witness
        low, high = parts
        axes, outer = np.tile(axes, 2), np.tile(outer, 2)


def _escape(program, axes, outer, low, high) -> Face | None:
    """A small box around a point of a face in all of which the field points out, so that a jump deceives nobody."""
    for points in (low / 2 + high / 2, low, high):
        below, above = np.nextafter(points, -np.inf), np.nextafter(points, np.inf)
        found = np.flatnonzero(_outward(enclose(program, below, above), axes, outer)[0] > 0)[:1]
        if len(found):
            return _as_faces(axes[found], outer[found], below[found], above[found])[0]
    return None


def _lipschitz_pieces(program, derivative, n, lower, upper, max_boxes) -> tuple[np.ndarray, np.ndarray | None]:
    """Boxes that cover a box, and the first one on which the field may jump or its slopes by the state be unbounded."""
    low, high = lower[None], upper[None]
    done = [np.empty((0, 2, len(lower)))]
    while True:
        bottom, top = enclose(program, low, high)
        slopes = [bound.reshape(len(low), n, -1)[..., :n] for bound in enclose(derivative, low, high)]
        smooth = np.isfinite([bottom, top]).all(axis=(0, 2)) & (bottom == top)[:, n:].all(axis=1)
        smooth &= np.isfinite(slopes).all(axis=(0, 2, 3))
        done.append(np.stack([low, high], axis=1)[smooth])
        low, high = low[~smooth], high[~smooth]
        if not len(low):
            return np.concatenate(done), None
        parts, narrow = _halved(low, high, lower, upper)
        if narrow or sum(map(len, done)) + len(parts[0]) > max_boxes:
            rest = np.stack([low, high], axis=1)
            return np.concatenate([*done, rest]), rest[0]
        low, high = parts


def _halved(low, high, lower, upper) -> tuple[tuple[np.ndarray, np.ndarray], bool]:
    """Boxes cut in two where they are widest, relative to a whole; and whether they are as narrow as points already."""
    widths = (high / 2 - low / 2) / (upper / 2 - lower / 2)[None]
    here = np.arange(len(lower))[None] == np.argmax(widths, axis=1)[:, None]
    middle = low / 2 + high / 2
    halves = (
        np.concatenate([low, np.where(here, middle, low)]),
        np.concatenate([np.where(here, middle, high), high]),
    )
    return halves, widths.max() < _NARROW


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


def _place(lower: np.ndarray, upper: np.ndarray) -> str:
    return np.array2string(lower / 2 + upper / 2, precision=6)
