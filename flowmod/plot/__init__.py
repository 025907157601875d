"""Pictures: a result goes in, matplotlib axes come out.

`landscape`, `phase_portrait` and `rate_map` show a flow of two numbers over a box of its states; `rate`, `rate_band`,
`ledger` and `states` show a run against time. `potentials` and `observed` show several runs, by their flow time or by a
clock; `spectrum`, `step_limits`, `layers` and `twins` show what was measured along a run, `module_graph` what modules
do to each other, and `stability` what one sample of the data changes. `comparison` shows how far optimizers are from
their flow, `fates`, `stability_map` and `bifurcation` what becomes of them, `seeds` how those with minibatches scatter,
and `edge_of_stability` a run that oscillates, between its gradient flow and its central flow.
Each function draws into `ax=`, or into a new figure one journal column wide, and returns the axes. Flows may be
evaluated on a grid for it; none is run, nothing is saved. What is drawn carries a label, so that `ax.legend(loc=...)`
makes another legend.
"""

from .bifurcation import bifurcation as bifurcation
from .comparison import comparison as comparison
from .edge_of_stability import edge_of_stability as edge_of_stability
from .fates import fates as fates
from .landscape import landscape as landscape
from .layers import layers as layers
from .ledger import ledger as ledger
from .module_graph import module_graph as module_graph
from .observed import observed as observed
from .phase_portrait import phase_portrait as phase_portrait
from .potentials import potentials as potentials
from .rate import rate as rate
from .rate_band import rate_band as rate_band
from .rate_map import rate_map as rate_map
from .seeds import seeds as seeds
from .spectrum import spectrum as spectrum
from .stability import stability as stability
from .stability_map import stability_map as stability_map
from .states import states as states
from .step_limits import step_limits as step_limits
from .twins import twins as twins

__all__ = [
    "bifurcation",
    "comparison",
    "edge_of_stability",
    "fates",
    "landscape",
    "layers",
    "ledger",
    "module_graph",
    "observed",
    "phase_portrait",
    "potentials",
    "rate",
    "rate_band",
    "rate_map",
    "seeds",
    "spectrum",
    "stability",
    "stability_map",
    "states",
    "step_limits",
    "twins",
]
