"""Integrators of a flow as optimizers."""

from .discretize import Discretization as Discretization
from .discretize import discretize as discretize
from .discretize import scaled as scaled
