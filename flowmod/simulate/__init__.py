"""Running flows: one trajectory or many, what comes out, and how it is kept."""

from .._results import RESULTS as RESULTS
from ._carried import carried_along as carried_along
from ._measures import evaluate_along as evaluate_along
from .ensemble import Ensemble as Ensemble
from .ensemble import ensemble as ensemble
from .layer_report import layer_report as layer_report
from .load import load as load
from .metric_controller import MetricController as MetricController
from .save import write_whole as write_whole
from .simulate import SimulationError as SimulationError
from .simulate import simulate as simulate
from .stopping import AtEquilibrium as AtEquilibrium
from .trajectory import Trajectory as Trajectory
