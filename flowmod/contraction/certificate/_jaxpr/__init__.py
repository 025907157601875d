"""A JAX function as a scalar program. The one room of the certificates that knows how JAX writes a function down.

A jaxpr is walked equation by equation. An array that depends on the inputs is an array of nodes, so what only moves
entries moves nodes; whole numbers and conditions that do not depend on them (indices, masks) are worked out on the way.
Float constants are never worked out where that rounds: a program means real numbers.

Names of primitives differ between versions of JAX: each rule lists those it goes by, and the tests have a function for
each rule.
"""

from . import arithmetic, calls, linear_algebra, movement
from .rules import UnsupportedPrimitive as UnsupportedPrimitive
from .walk import program_of as program_of

del arithmetic, calls, linear_algebra, movement  # imported for the rules that they add to the table
