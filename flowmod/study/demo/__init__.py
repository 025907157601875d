"""The demo: four runs of flowmod, each from a configuration to figures, data and numbers in one folder of results.

A gene circuit (`toggle`), a network (`network`) and a softmax regression (`regression`) that learn handwritten digits,
and the optimizers that imitate the flow of that network (`optimizers`). A part has its configuration, what it computed,
its pictures and its numbers in files of its own.
"""

from .config import DemoConfig as DemoConfig
from .config import quick_demo as quick_demo
from .run import run_demo as run_demo
from .tables import demo_tables as demo_tables
