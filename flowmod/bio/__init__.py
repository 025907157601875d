"""Biological models, each one a flow with its published parameters and its equilibria."""

from .toggle import ToggleSwitch as ToggleSwitch
from .toggle import toggle_switch as toggle_switch

__all__ = ["ToggleSwitch", "toggle_switch"]
