"""The predicted step limits of a family of discretised flows."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ..._typing import State
from ..limits import bears, leading_curvature
from ._source import source_of


def predicted_limits(make: Callable, values: np.ndarray, y: State) -> np.ndarray:
    """The step limit at a state of what is made from each of the values, (V,); NaN where none is known."""
    sources = [source_of(make(value)) for value in values]
    if any(source.flow is None for source in sources):
        return np.full(len(values), np.nan)
    if all(source.flow is sources[0].flow for source in sources):
        values = values[:1]

    def curvature(value):
        source = source_of(make(value))
        assert source.flow is not None
        mode = leading_curvature(source.flow, y, args=source.args)
        return jnp.where(mode.converged, mode.value, jnp.nan)

    # One program for all metrics, one metric after the other.
    curvatures = np.asarray(jax.jit(lambda values: jax.lax.map(curvature, values))(jnp.asarray(values)))
    borne = np.array([bears(source.method, source.momentum) for source in sources])
    limits = np.full(len(sources), np.inf)
    return np.divide(borne, curvatures, out=limits, where=~(curvatures <= 0))
