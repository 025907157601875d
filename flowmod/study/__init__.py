"""A study: from a configuration to a folder of results, and what the command needs to find a flow and keep what it did.

`run_demo(DemoConfig(), folder, command)` is the main one: a gene circuit and a network as Riemannian gradient flows.
"""

# the demo: what it runs, and where it leaves its results
from .demo import DemoConfig as DemoConfig
from .demo import demo_tables as demo_tables
from .demo import quick_demo as quick_demo
from .demo import run_demo as run_demo

# what a word on the command line stands for
from .extras import cure_for as cure_for

# what comes out of a flow
from .fixed_points import Barrier as Barrier
from .fixed_points import barriers as barriers
from .models import MODELS as MODELS
from .models import Model as Model
from .resolve import place_in as place_in
from .resolve import resolve as resolve
from .stability import fates_over_steps as fates_over_steps
from .stability import limits_by_method as limits_by_method
from .target import Target as Target
from .verification import verify as verify
