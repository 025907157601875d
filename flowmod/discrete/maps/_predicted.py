"""The predicted step limits of a family of discretised flows."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ..._typing import State
from ...flow import GradientFlow
from .._scheme import scheme_of
from ..limits import leading_curvature
from ._source import source_of


def predicted_limits(make: Callable, values: np.ndarray, y: State, step_size: float) -> np.ndarray:
    """The step limit at a state of what is made from the step size and each of the values, (V,); NaN if not known."""
    sources = [source_of(make(value)).discretization for value in values]
    schemes = [None if source is None else scheme_of(source, step_size) for source in sources]
    known = [scheme for scheme in schemes if scheme is not None]
    if len(known) < len(values):
        return np.full(len(values), np.nan)
    if all(scheme.flow is known[0].flow for scheme in known):
        values = values[:1]

    def curvature(value):
        source = source_of(make(value)).discretization
        assert source is not None
        assert isinstance(source.flow, GradientFlow)
        mode = leading_curvature(source.flow, y, args=source.args)
        return jnp.where(mode.converged, mode.value, jnp.nan)

    # One program for all metrics, one metric after the other.
    curvatures = np.asarray(jax.jit(lambda values: jax.lax.map(curvature, values))(jnp.asarray(values)))
    limits = np.full(len(known), np.inf)
    return np.divide([scheme.largest for scheme in known], curvatures, out=limits, where=~(curvatures <= 0))
