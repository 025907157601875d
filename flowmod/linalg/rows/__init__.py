"""Row factors: the matrix `K` of `D + K^T K`, by what it is made of and never formed unasked."""

from .arranged import ArrangedRows as ArrangedRows
from .arranged import Layout as Layout
from .arranged import Step as Step
from .autodiff import AutodiffRows as AutodiffRows
from .base import AbstractRows as AbstractRows
from .base import raveled_mass as raveled_mass
from .dense import DenseRows as DenseRows
from .joined import JoinedRows as JoinedRows
from .khatri_rao import KhatriRaoRows as KhatriRaoRows
from .lookup import LookupRows as LookupRows
from .positions import PositionRows as PositionRows
from .repeated import RepeatedRows as RepeatedRows
from .stacked import first_samples as first_samples
from .stacked import held as held
from .stacked import stacked as stacked
from .summed import SummedRows as SummedRows
