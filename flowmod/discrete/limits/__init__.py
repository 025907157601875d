"""How large a step may be."""

from .step_limit import STABLE as STABLE
from .step_limit import leading_curvature as leading_curvature
from .step_limit import step_limit as step_limit
