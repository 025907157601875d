"""How large a step may be."""

from .bears import bears as bears
from .euler_contraction import EulerContraction as EulerContraction
from .euler_contraction import euler_contraction as euler_contraction
from .leading_curvature import leading_curvature as leading_curvature
from .optimal_step import OptimalStep as OptimalStep
from .optimal_step import optimal_step as optimal_step
from .stability_margin import stability_margin as stability_margin
from .step_limit import step_limit as step_limit
