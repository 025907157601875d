"""The edge of stability: central flows, which follow the mean of an oscillating optimizer."""

from .averaged_flow import AveragedFlow as AveragedFlow
from .averaged_flow import averaged_flow as averaged_flow
from .central_flow import CentralFlow as CentralFlow
from .central_flow import central_flow as central_flow
from .edge_of_stability import edge_of_stability as edge_of_stability
