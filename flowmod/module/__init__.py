"""Riemannian modules: parametrised maps that know their local linearisation, and their composition."""

from .linear import Linear as Linear
from .module import AbstractModule as AbstractModule
from .module import Series as Series
from .module import require_module as require_module
from .pointwise import Pointwise as Pointwise
from .template import complete as complete
from .template import shapes_of as shapes_of
from .template import template_of as template_of
from .wrapped import Wrapped as Wrapped
from .wrapped import wrap as wrap
