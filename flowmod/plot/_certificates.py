"""Certified boxes on a plane: what is proved, and the point that disproves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from ..contraction import Certificate
from ._palette import INK, LINES, PAPER
from ._plane import Plane

_COLOURS = {"proved": LINES[2], "disproved": LINES[1], "undecided": LINES[4]}
_DASHES = {"proved": "-", "disproved": "--", "undecided": ":"}


def certificates_of(argument: str, certificates: Any, plane: Plane) -> list[Certificate]:
    """One certificate or a sequence of them as a list.

    Raises:
        ValueError: if something is no certificate, or one is of a state of another size.
    """
    many = [certificates] if isinstance(certificates, Certificate) else certificates
    if not isinstance(many, Sequence) or not all(isinstance(one, Certificate) for one in many):
        raise ValueError(
            f"`{argument}` must be a Certificate or a sequence of them, from `fm.certify`, got "
            f"{type(certificates).__name__}."
        )
    for certificate in many:
        numbers = certificate.corners.shape[-1]
        if numbers != len(plane.low):
            raise ValueError(f"`{argument}` must be of the state that is drawn, of 2 numbers, got one of {numbers}.")
    return list(many)


def draw_certificates(ax: Axes, certificates: list[Certificate]) -> None:
    """The frame of each certificate, the boxes of a proof in it, and a cross where it is disproved."""
    for certificate in certificates:
        status = certificate.status
        colour = _COLOURS[status]
        if status == "proved":
            boxes = [_outline(box)[:-1] for box in certificate.boxes]
            ax.add_collection(PolyCollection(boxes, facecolors="none", edgecolors=colour, linewidths=0.4, zorder=2.2))
        label = f"rate {certificate.rate:.3g} proved" if status == "proved" else status
        outline = _outline(certificate.corners)
        ax.plot(*outline.T, color=colour, linestyle=_DASHES[status], linewidth=1.8, label=label, zorder=2.4)
        if status == "disproved" and certificate.witness_point is not None:
            cross = {"marker": "X", "markersize": 7, "markeredgecolor": PAPER, "color": INK, "linestyle": "none"}
            ax.plot(*certificate.witness_point[:, None], **cross, label="not contracting", zorder=4)


def _outline(box: np.ndarray) -> np.ndarray:
    """The corners of a box in turn, and the first one again, (5, 2)."""
    (left, bottom), (right, top) = box
    return np.array([[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]])
