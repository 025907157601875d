"""Pictures: a result goes in, matplotlib axes come out.

`landscape`, `phase_portrait` and `rate_map` show a flow of two numbers over a box of its states; `rate`, `ledger` and
`states` show a run against time. Each function draws into `ax=`, or into a new figure one journal column wide, and
returns the axes. Flows may be evaluated on a grid for it; none is run, and nothing is saved. What is drawn carries a
label, so that `ax.legend(loc=...)` makes another legend.
"""

from .landscape import landscape as landscape
from .ledger import ledger as ledger
from .phase_portrait import phase_portrait as phase_portrait
from .rate import rate as rate
from .rate_map import rate_map as rate_map
from .states import states as states

__all__ = ["landscape", "ledger", "phase_portrait", "rate", "rate_map", "states"]
