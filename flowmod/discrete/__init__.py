"""Discrete optimizers: made from flows, and measured against the flow that they imitate."""

from .compare import compare as compare
from .discretize import Discretization as Discretization
from .discretize import discretize as discretize
from .step_limit import leading_curvature as leading_curvature
from .step_limit import step_limit as step_limit
