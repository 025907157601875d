"""The unit balls of a metric, as they look on the axes of a plane."""

from typing import Any

import numpy as np

from ..flow import AbstractFlow
from ..metric import AbstractMetric, Euclidean
from ._plane import Plane

_PER_AXIS = 7
_RADIUS = 0.36 / _PER_AXIS
_CIRCLE = np.stack([np.cos(angle := np.linspace(0, 2 * np.pi, 49)), np.sin(angle)], axis=-1)


def metric_ellipses(plane: Plane, flow: AbstractFlow, t: Any, args: Any) -> np.ndarray:
    """Outlines of `{v : v^T M v = const}` around the points of a coarse grid, (ellipses, points, 2).

    The constant is chosen for each ellipse, so that its longer half axis is the same everywhere on the axes: a metric's
    size ranges over orders of magnitude, its shape is what can be drawn. On logarithmic axes it is the ellipse of the
    logarithms' velocities. Where the metric is not positive definite there is none.
    """
    fractions = (np.arange(_PER_AXIS) + 0.5) / _PER_AXIS
    numbers = plane.grid(fractions).reshape(-1, 2)
    metric = Euclidean() if flow.metric is None else flow.metric
    matrices = plane.evaluate(_matrix, numbers, t, (metric, args))
    stretch = plane.stretch(numbers)
    outlines = []
    for centre, matrix in zip(
        plane.fractions(numbers), stretch[:, :, None] * matrices * stretch[:, None, :], strict=True
    ):
        if not np.isfinite(matrix).all():
            continue
        eigenvalues, directions = np.linalg.eigh(matrix)
        if eigenvalues[0] > 0:
            half_axes = _RADIUS * np.sqrt(eigenvalues[0] / eigenvalues)
            outlines.append(plane.placed(centre + (_CIRCLE * half_axes) @ directions.T))
    return np.array(outlines).reshape(-1, *_CIRCLE.shape)


def _matrix(t: Any, y: Any, operands: tuple[AbstractMetric, Any]) -> Any:
    metric, args = operands
    return metric.at(t)(y, args).as_matrix()
