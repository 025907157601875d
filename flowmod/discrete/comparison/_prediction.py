"""The step limits of those optimizers whose step is known to be a flow's."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..._tree import combine
from ..._typing import Vector
from ...flow import GradientFlow
from .._scheme import Scheme, scheme_of
from ..limits import bears, leading_curvature
from ..methods import Discretization
from ._optimizer import Optimizer
from ._recursion import recursion_of
from ._reference import Reference


class Prediction:
    """Step limits along a flow's runs; the curvatures of one flow serve all optimizers that discretise it."""

    def __init__(self, reference: Reference, rows: np.ndarray):
        self._reference = reference
        self._times = reference.times[rows]
        self._path = jax.tree.map(lambda leaf: leaf[:, rows], reference.path)
        self._descent = GradientFlow(reference.potential)
        self._known: dict[tuple[int, int], tuple[Scheme, np.ndarray]] = {}

    def limits(self, optimizer: Optimizer, step_size: float) -> np.ndarray:
        """The step limit at each start and each of the times, (starts, times), NaN where none is known."""
        scheme = self._scheme(optimizer, step_size)
        if scheme is None:
            return np.full((len(jax.tree.leaves(self._path)[0]), len(self._times)), np.nan)
        key = (id(scheme.flow), id(scheme.args))
        if key not in self._known:
            found = _curvatures(scheme.flow, scheme.args, self._reference.static, self._times, self._path)
            self._known[key] = scheme, np.asarray(found)  # with the scheme, so that its identity stays taken
        curvatures = self._known[key][1]
        limits = np.full(curvatures.shape, np.inf)
        return np.divide(scheme.largest, curvatures, out=limits, where=~(curvatures <= 0))

    def _scheme(self, optimizer: Optimizer, step_size: float) -> Scheme | None:
        reference = self._reference
        made = optimizer.at(step_size, reference.flow)
        if isinstance(made, Discretization):
            return scheme_of(made, step_size)
        found = recursion_of(optimizer, step_size, reference.flow, reference)
        if found is None:
            return None
        return Scheme(self._descent, reference.args, bears(found.method, found.momentum) / found.factor)


@eqx.filter_jit
def _curvatures(flow, args, static: PyTree, times: Any, path: Vector) -> Float[Array, "starts times"]:
    def at(point):
        t, leaves = point
        mode = leading_curvature(flow, combine(leaves, static), t=t, args=args)
        # One curvature that is not known is no reason to stop.
        return jnp.where(mode.converged, mode.value, jnp.nan)

    return jax.lax.map(lambda leaves: jax.lax.map(at, (times, leaves)), path)
