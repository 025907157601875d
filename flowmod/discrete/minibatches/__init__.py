"""Optimizers that see a few samples at a time, and the flow of their mean."""

from .compare_seeds import compare_seeds as compare_seeds
from .minibatch import Minibatch as Minibatch
from .minibatch import minibatch as minibatch
