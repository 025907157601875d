"""Flows: vector fields with a potential, a metric and an energy balance; each one is a diffrax term."""

from ._base import AbstractFlow as AbstractFlow
from ._base import Units as Units
from ._base import freeze_units as freeze_units
from ._base import require_flow as require_flow
from .corners import corners_of as corners_of
from .dynamical import Dynamical as Dynamical
from .equilibria import Equilibria as Equilibria
from .equilibria import FixedPoint as FixedPoint
from .equilibria import equilibria as equilibria
from .field_jacobian import field_jacobian as field_jacobian
from .gradient import GradientFlow as GradientFlow
from .inertial import InertialFlow as InertialFlow
from .vector_field import VectorField as VectorField
from .wiring import cascade as cascade
from .wiring import feedback as feedback
from .wiring import independent as independent
from .wiring import network as network
