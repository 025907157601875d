"""Euler's step, explicit: gradient descent in the metric."""

from ..._tree import floats
from ..._typing import Vector
from ...metric import sharp_of_given
from ._start import Start, scaled


def euler(start: Start) -> Vector:
    """`-h M(y)^-1 g` with the gradients that are given: order 1."""
    vector = sharp_of_given(start.flow.potential, start.metric, start.y, start.gradients, start.args)
    return scaled(-start.h, vector, floats(start.y))
