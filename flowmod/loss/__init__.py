"""Losses, the metrics of their outputs, and `Supervised`: a loss of a module on data, a potential."""

from ._samples import as_samples as as_samples
from ._samples import cast_samples as cast_samples
from .losses import AbstractLoss as AbstractLoss
from .losses import MeanSquaredError as MeanSquaredError
from .losses import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from .output import AbstractOutputMetric as AbstractOutputMetric
from .output import OutputFactor as OutputFactor
from .output import OutputFisher as OutputFisher
from .output import OutputHessian as OutputHessian
from .output import OutputIdentity as OutputIdentity
from .output import output_metric_of as output_metric_of
from .output import residual_coordinates as residual_coordinates
from .supervised import Supervised as Supervised
from .supervised import batch_of as batch_of
from .weight_decay import WeightDecay as WeightDecay
