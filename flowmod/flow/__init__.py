"""Flows: vector fields with a potential, a metric and an energy balance; each one is a diffrax term."""

from ._base import AbstractFlow as AbstractFlow
from ._base import Units as Units
from ._base import freeze_units as freeze_units
from ._base import require_flow as require_flow
from .equilibria import Equilibria as Equilibria
from .equilibria import FixedPoint as FixedPoint
from .equilibria import equilibria as equilibria
from .gradient import GradientFlow as GradientFlow
from .inertial import InertialFlow as InertialFlow
from .vector_field import VectorField as VectorField
