"""Contraction: whether and how fast the trajectories of a flow approach each other, and in which metric."""

from .jacobian import generalized_jacobian as generalized_jacobian
from .leading_mode import leading_mode as leading_mode
from .rate import contraction_rate as contraction_rate
