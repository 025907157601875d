"""The rate of a whole from the rates of its modules and the gains between them: `fm.compose`.

Each row of the calculus takes the modules' rates, as numbers or as certificates, and what is known of their couplings.
It returns a `Composition`: the rate, the metric that achieves it, what that metric costs, and what limits the rate.
Rates and gains are in the lengths of the modules' own metrics `M_i` and have the unit 1/time; `gains[i][j]` is the
effect of `j` on `i`. A module's rate has to hold whatever drives it. That of `u = 0` does where the input is only added
to its velocity and its metric is constant: a metric that depends on the state moves with it, and so with the input.
Certificates are therefore taken in constant metrics only. That inputs are only added can't be seen from them, and is
said with the result, as is its region: the product of their boxes, while runs stay there. No rate is above the true
one of an assembled system with such parts, rounding included.
"""

from .composition import Composition as Composition
from .feedback import skew_feedback as skew_feedback
from .feedback import unscaled_feedback as unscaled_feedback
from .hierarchy import hierarchy as hierarchy
from .independent import independent as independent
from .network import network as network
from .network import small_gain as small_gain
from .primal_dual import equality_constrained as equality_constrained
from .primal_dual import primal_dual as primal_dual
from .rnn_of_rnns import rnn_of_rnns as rnn_of_rnns
from .rnn_of_rnns import skew_coupling as skew_coupling
from .sum import sum as sum
from .transient import transient as transient

__all__ = [
    "Composition",
    "equality_constrained",
    "hierarchy",
    "independent",
    "network",
    "primal_dual",
    "rnn_of_rnns",
    "skew_coupling",
    "skew_feedback",
    "small_gain",
    "sum",
    "transient",
    "unscaled_feedback",
]
