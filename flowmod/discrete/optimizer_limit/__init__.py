"""The flow that an optimizer is the discretisation of."""

from .flow_of import flow_of as flow_of
from .limit import OptimizerLimit as OptimizerLimit
