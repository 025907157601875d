"""Structured linear algebra: row factors, `D + K^T K` by blocks with its solvers, eigenpairs without a matrix."""

from .blocks import Blocks as Blocks
from .blocks import Part as Part
from .blocks import Parts as Parts
from .blocks import blocks_of as blocks_of
from .conjugate_gradients import Solution as Solution
from .conjugate_gradients import conjugate_gradients as conjugate_gradients
from .lanczos import LeadingEigenpair as LeadingEigenpair
from .lanczos import Product as Product
from .lanczos import leading_eigenpair as leading_eigenpair
from .lanczos import random_start as random_start
from .layered import LayeredOperator as LayeredOperator
from .psd_sqrt import psd_sqrt as psd_sqrt
from .rows import AbstractRows as AbstractRows
from .rows import AutodiffRows as AutodiffRows
from .rows import KhatriRaoRows as KhatriRaoRows
from .tolerance import InnerTolerance as InnerTolerance
from .tolerance import follow as follow
from .woodbury import inner_factors as inner_factors
from .woodbury import inner_matrix as inner_matrix
from .woodbury import woodbury as woodbury
