"""Losses, the metrics of their outputs, and `Supervised`: a loss of a module on data, a potential."""

from ._samples import as_samples as as_samples
from ._samples import cast_samples as cast_samples
from .fisher import OutputFisher as OutputFisher
from .fisher import output_metric_of as output_metric_of
from .losses import AbstractLoss as AbstractLoss
from .losses import GaussianNegativeLogLikelihood as GaussianNegativeLogLikelihood
from .losses import MeanSquaredError as MeanSquaredError
from .losses import PoissonNegativeLogLikelihood as PoissonNegativeLogLikelihood
from .losses import SigmoidCrossEntropy as SigmoidCrossEntropy
from .losses import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from .low_rank import OutputLowRank as OutputLowRank
from .output import AbstractOutputMetric as AbstractOutputMetric
from .output import OutputFactor as OutputFactor
from .output import OutputHessian as OutputHessian
from .output import OutputIdentity as OutputIdentity
from .sampled import OutputSampled as OutputSampled
from .supervised import Supervised as Supervised
from .supervised import batch_of as batch_of
from .weight_decay import WeightDecay as WeightDecay
