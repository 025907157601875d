"""Explicit Runge-Kutta steps, each by its tableau."""

from typing import NamedTuple

from ..._typing import Vector
from ._start import Start, scaled, total, zero_like


class Tableau(NamedTuple):
    """An explicit Runge-Kutta method.

    Attributes:
        nodes: the time of each stage, in steps.
        stages: for each stage the weights of the stages before it.
        weights: those of the step.
    """

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


HEUN = Tableau((0.0, 1.0), ((), (1.0,)), (1 / 2, 1 / 2))
RK4 = Tableau((0.0, 1 / 2, 1 / 2, 1.0), ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))


def heun(start: Start) -> Vector:
    """Order 2, by two evaluations of the flow."""
    return _step(HEUN, start)


def rk4(start: Start) -> Vector:
    """Order 4, by four evaluations of the flow.

    Reference: E. Hairer, S. P. Norsett, G. Wanner, "Solving Ordinary Differential Equations I" (1993), ch. II.1.
    """
    return _step(RK4, start)


def _step(tableau: Tableau, start: Start) -> Vector:
    velocities = []
    for node, weights in zip(tableau.nodes, tableau.stages, strict=True):
        velocities.append(start.descent(_sum(start, weights, velocities), node))
    return _sum(start, tableau.weights, velocities)


def _sum(start: Start, weights: tuple[float, ...], velocities: list[Vector]) -> Vector:
    terms = [scaled(weight * start.h, v, v) for weight, v in zip(weights, velocities, strict=True) if weight]
    return total(terms) if terms else zero_like(start.y)
