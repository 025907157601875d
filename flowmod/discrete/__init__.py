"""Discrete optimizers: made from flows, and measured against the flow that they imitate."""

from .compare import compare as compare
from .damping import LevenbergMarquardt as LevenbergMarquardt
from .discretize import Discretization as Discretization
from .discretize import discretize as discretize
from .layerwise import LayerwiseState as LayerwiseState
from .layerwise import layerwise as layerwise
from .step_limit import leading_curvature as leading_curvature
from .step_limit import step_limit as step_limit
from .window import Window as Window
