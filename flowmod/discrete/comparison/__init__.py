"""A flow and discrete optimizers on one clock: distances, fates, orders, predicted limits."""

from .compare import compare as compare
