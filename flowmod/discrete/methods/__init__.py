"""Integrators of a flow as optimizers, one file each."""

from ._start import scaled as scaled
from .discretize import Discretization as Discretization
from .discretize import DiscretizationState as DiscretizationState
from .discretize import discretize as discretize
from .geodesic import exp_map as exp_map
from .retraction import retraction as retraction
