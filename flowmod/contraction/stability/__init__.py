"""Algorithmic stability: how much one sample of the data changes what a flow ends in, bounded and measured."""

from .abstract_order import OrderOfMagnitude as OrderOfMagnitude
from .abstract_order import abstract_order as abstract_order
from .bound import StabilityBound as StabilityBound
from .bound import stability_bound as stability_bound
from .constants import StabilityConstants as StabilityConstants
from .constants import stability_constants as stability_constants
from .ladder import StabilityLadder as StabilityLadder
from .measure import measure_stability as measure_stability
