"""Pictures: a result goes in, matplotlib axes come out.

Each function draws into `ax=`, or into a new figure one journal column wide, and returns the axes. Flows may be
evaluated on a grid for it; nothing is integrated and nothing is saved. What is drawn carries a label, so that
`ax.legend(loc=...)` makes another legend.
"""

# of a flow of two numbers, over a box of its states
from .landscape import landscape as landscape
from .phase_portrait import phase_portrait as phase_portrait
from .rate_map import rate_map as rate_map

# of a run, against time
from .ledger import ledger as ledger
from .rate import rate as rate
from .states import states as states

__all__ = ["landscape", "ledger", "phase_portrait", "rate", "rate_map", "states"]
