"""The layerwise natural gradient as an optimizer for batches, with a mass that adapts and a memory of factors."""

from .damping import LevenbergMarquardt as LevenbergMarquardt
from .layerwise import LayerwiseState as LayerwiseState
from .layerwise import layerwise as layerwise
from .window import Window as Window
