"""Riemannian metrics: the mass matrix of a flow, one file each. Guide: `docs/guides/what-a-metric-is.md`."""

from ._base import AbstractMetric as AbstractMetric
from ._base import require_metric as require_metric
from ._factorise import inverse_at as inverse_at
from ._matrix import asymmetry as asymmetry
from ._matrix import tolerance as tolerance
from ._products import hessian_product as hessian_product
from ._products import metric_products as metric_products
from .check import MetricReport as MetricReport
from .check import check_metric as check_metric
from .constant import ConstantMetric as ConstantMetric
from .dense import DenseMetric as DenseMetric
from .descent import steepest_descent as steepest_descent
from .descent import value_and_covector as value_and_covector
from .diagonal import DiagonalMetric as DiagonalMetric
from .euclidean import Euclidean as Euclidean
from .layerwise import LayerwiseMetric as LayerwiseMetric
from .moving import MovingMetric as MovingMetric
