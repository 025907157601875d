"""The modules of a flow: how fast each contracts, what it does to the others, and which one limits the whole."""

from .module_report import ModuleReport as ModuleReport
from .module_report import module_report as module_report
