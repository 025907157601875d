"""A continuous-time simulator of Riemannian gradient flows in modular systems.

`M(y) y' = -grad f(y)`: choose a metric, make a flow, simulate it, ask how fast its trajectories contract.
"""

import importlib
import typing

# models
from . import bio as bio

# contraction: do trajectories approach each other
from .contraction import Certificate as Certificate
from .contraction import FittedMetric as FittedMetric
from .contraction import ModuleReport as ModuleReport
from .contraction import OrderOfMagnitude as OrderOfMagnitude
from .contraction import OutputRate as OutputRate
from .contraction import PerronWeights as PerronWeights
from .contraction import Spectrum as Spectrum
from .contraction import StabilityBound as StabilityBound
from .contraction import StabilityConstants as StabilityConstants
from .contraction import StabilityLadder as StabilityLadder
from .contraction import Twins as Twins
from .contraction import abstract_order as abstract_order
from .contraction import certify as certify
from .contraction import compose as compose
from .contraction import contraction_rate as contraction_rate
from .contraction import contraction_spectrum as contraction_spectrum
from .contraction import fit_metric as fit_metric
from .contraction import generalized_jacobian as generalized_jacobian
from .contraction import log_norm as log_norm
from .contraction import measure_stability as measure_stability
from .contraction import module_report as module_report
from .contraction import output_rate as output_rate
from .contraction import perron_weights as perron_weights
from .contraction import rate_bound_from_speed as rate_bound_from_speed
from .contraction import stability_bound as stability_bound
from .contraction import stability_constants as stability_constants
from .contraction import twins as twins

# discretisation: what optimizers make of a flow
from .discrete import AveragedFlow as AveragedFlow
from .discrete import CentralFlow as CentralFlow
from .discrete import Discretization as Discretization
from .discrete import DiscretizationState as DiscretizationState
from .discrete import EulerContraction as EulerContraction
from .discrete import GapReport as GapReport
from .discrete import LayerwiseState as LayerwiseState
from .discrete import LevenbergMarquardt as LevenbergMarquardt
from .discrete import OptimalStep as OptimalStep
from .discrete import OptimizerLimit as OptimizerLimit
from .discrete import Window as Window
from .discrete import averaged_flow as averaged_flow
from .discrete import bears as bears
from .discrete import bifurcation as bifurcation
from .discrete import central_flow as central_flow
from .discrete import compare as compare
from .discrete import compare_seeds as compare_seeds
from .discrete import discretize as discretize
from .discrete import edge_of_stability as edge_of_stability
from .discrete import euler_contraction as euler_contraction
from .discrete import exp_map as exp_map
from .discrete import flow_of as flow_of
from .discrete import gap_report as gap_report
from .discrete import layerwise as layerwise
from .discrete import minibatch as minibatch
from .discrete import modified_flow as modified_flow
from .discrete import modified_potential as modified_potential
from .discrete import optimal_step as optimal_step
from .discrete import retraction as retraction
from .discrete import stability_map as stability_map
from .discrete import stability_margin as stability_margin
from .discrete import step_limit as step_limit

# the flow: what moves
from .flow import AbstractFlow as AbstractFlow
from .flow import Dynamical as Dynamical
from .flow import Equilibria as Equilibria
from .flow import FixedPoint as FixedPoint
from .flow import GradientFlow as GradientFlow
from .flow import InertialFlow as InertialFlow
from .flow import VectorField as VectorField
from .flow import cascade as cascade
from .flow import equilibria as equilibria
from .flow import feedback as feedback
from .flow import independent as independent
from .flow import network as network

# losses: what a module is trained for
from .loss import AbstractLoss as AbstractLoss
from .loss import AbstractOutputMetric as AbstractOutputMetric
from .loss import GaussianNegativeLogLikelihood as GaussianNegativeLogLikelihood
from .loss import MeanSquaredError as MeanSquaredError
from .loss import OutputFactor as OutputFactor
from .loss import OutputFisher as OutputFisher
from .loss import OutputHessian as OutputHessian
from .loss import OutputIdentity as OutputIdentity
from .loss import OutputLowRank as OutputLowRank
from .loss import OutputSampled as OutputSampled
from .loss import PoissonNegativeLogLikelihood as PoissonNegativeLogLikelihood
from .loss import SigmoidCrossEntropy as SigmoidCrossEntropy
from .loss import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from .loss import Supervised as Supervised
from .loss import WeightDecay as WeightDecay

# the metric: what steepest means
from .metric import AbstractMetric as AbstractMetric
from .metric import BlockMetric as BlockMetric
from .metric import ConstantMetric as ConstantMetric
from .metric import DenseMetric as DenseMetric
from .metric import DiagonalMetric as DiagonalMetric
from .metric import Euclidean as Euclidean
from .metric import FullMetric as FullMetric
from .metric import HessianMetric as HessianMetric
from .metric import LayerReport as LayerReport
from .metric import LayerwiseMetric as LayerwiseMetric
from .metric import MetricReport as MetricReport
from .metric import MovingMetric as MovingMetric
from .metric import PerSampleMetric as PerSampleMetric
from .metric import PullbackMetric as PullbackMetric
from .metric import SubsetMetric as SubsetMetric
from .metric import TraceMass as TraceMass
from .metric import check_metric as check_metric
from .metric import steepest_descent as steepest_descent

# modules: what a network is composed of
from .module import AbstractModule as AbstractModule
from .module import Attention as Attention
from .module import AvgPool1d as AvgPool1d
from .module import AvgPool2d as AvgPool2d
from .module import Conv1d as Conv1d
from .module import Conv2d as Conv2d
from .module import Each as Each
from .module import Embedding as Embedding
from .module import Flatten as Flatten
from .module import GroupNorm as GroupNorm
from .module import LayerNorm as LayerNorm
from .module import Linear as Linear
from .module import MaxPool1d as MaxPool1d
from .module import MaxPool2d as MaxPool2d
from .module import Parallel as Parallel
from .module import Plan as Plan
from .module import Pointwise as Pointwise
from .module import Repeated as Repeated
from .module import Residual as Residual
from .module import Series as Series
from .module import Shared as Shared
from .module import wrap as wrap

# the run: where it goes
from .simulate import RESULTS as RESULTS
from .simulate import AtEquilibrium as AtEquilibrium
from .simulate import Ensemble as Ensemble
from .simulate import MetricController as MetricController
from .simulate import SimulationError as SimulationError
from .simulate import Trajectory as Trajectory
from .simulate import ensemble as ensemble
from .simulate import layer_report as layer_report
from .simulate import load as load
from .simulate import simulate as simulate

if typing.TYPE_CHECKING:
    from . import plot as plot
    from . import study as study

__version__ = "0.1.0"


def __getattr__(name: str) -> typing.Any:
    # Figures and studies load matplotlib and xarray, which a script that only computes does not need.
    if name in ("plot", "study"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
