"""Certificates: a rate that holds on a whole region, proved in interval arithmetic and checked by another route."""

from ._jaxpr import UnsupportedPrimitive as UnsupportedPrimitive
from .certificate import VERIFIER as VERIFIER
from .certificate import Certificate as Certificate
from .certificate import Witness as Witness
from .certify import certify as certify
from .invariance import Face as Face
from .invariance import Invariance as Invariance
