"""Discrete optimizers: made from flows, and measured against the flow that they imitate."""

from .comparison import compare as compare
from .layerwise import LayerwiseState as LayerwiseState
from .layerwise import LevenbergMarquardt as LevenbergMarquardt
from .layerwise import Window as Window
from .layerwise import layerwise as layerwise
from .limits import leading_curvature as leading_curvature
from .limits import step_limit as step_limit
from .methods import Discretization as Discretization
from .methods import discretize as discretize
