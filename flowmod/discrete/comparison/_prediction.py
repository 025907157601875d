"""The step limits of those optimizers whose step is known to be a flow's."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import combine, floats, is_float_array
from ..._typing import Args, Vector
from ...flow import AbstractFlow, GradientFlow
from ..limits import STABLE, leading_curvature
from ..methods import Discretization
from ._optimizer import Optimizer
from ._runs import Reference


class Scheme(NamedTuple):
    """A flow and the integrator that an optimizer is."""

    flow: AbstractFlow
    method: str
    args: Args


class Prediction:
    """Step limits along a flow's run; the curvatures of one flow serve all optimizers that discretise it."""

    def __init__(self, reference: Reference, rows: np.ndarray):
        self._reference = reference
        self._rows = rows
        self._descent = GradientFlow(reference.potential)
        self._known: dict[tuple[int, int], tuple[Scheme, np.ndarray]] = {}

    def limits(self, optimizer: Optimizer, step_size: float) -> np.ndarray:
        """The step limit at each of the rows of the run, NaN where none is known."""
        scheme = self._scheme(optimizer, step_size)
        if scheme is None:
            return np.full(len(self._rows), np.nan)
        key = (id(scheme.flow), id(scheme.args))
        if key not in self._known:
            self._known[key] = scheme, self._curvatures(scheme)  # with the scheme, so that its identity stays taken
        curvatures = self._known[key][1]
        limits = np.full(len(curvatures), np.inf)
        return np.divide(STABLE[scheme.method], curvatures, out=limits, where=~(curvatures <= 0))

    def _curvatures(self, scheme: Scheme) -> np.ndarray:
        reference, found = self._reference, []
        for row in self._rows:
            t, leaves = jax.tree.map(lambda along, row=row: along[row], (reference.times, reference.path))
            mode = leading_curvature(scheme.flow, combine(leaves, reference.y0), t=t, args=scheme.args)
            # One optimizer's curvature that is not known is no reason to stop.
            found.append(float(mode.value) if bool(mode.converged) else np.nan)
        return np.array(found)

    def _scheme(self, optimizer: Optimizer, step_size: float) -> Scheme | None:
        transformation = optimizer.at(step_size)
        if isinstance(transformation, Discretization):
            return Scheme(transformation.flow, transformation.method, transformation.args)
        if _is_gradient_descent(optimizer, transformation, step_size, self._reference):
            return Scheme(self._descent, "euler", self._reference.args)
        return None


def _is_gradient_descent(optimizer: Optimizer, transformation: Any, step_size: float, reference: Reference) -> bool:
    """Whether the update of any gradient is `-h` times it, as far as large gradients and late counts can tell."""
    leaves = floats(reference.y0)
    state = optimizer.init(transformation, leaves)
    if any(jnp.ndim(leaf) or is_float_array(leaf) for leaf in jax.tree.leaves(state)):
        return False
    # Clipping shows with large gradients, weight decay with parameters away from zero, a schedule with time.
    gradient = jax.tree.map(lambda leaf: 1e3 * _pattern(leaf), leaves)
    moved = jax.tree.map(lambda leaf: leaf + _pattern(leaf), leaves)
    late = jax.tree.map(lambda leaf: leaf + 10**6 if jnp.issubdtype(leaf.dtype, jnp.integer) else leaf, state)
    wanted = jax.tree.map(lambda leaf: -step_size * leaf, gradient)
    loss = reference.loss_at(leaves)
    return all(
        _are_close(optimizer.update(transformation, gradient, counts, moved, loss, reference)[0], wanted)
        for counts in (state, late)
    )


def _pattern(leaf: Any) -> Any:
    """Numbers between 1 and 2 in no order."""
    return jnp.asarray(1 + np.arange(leaf.size).reshape(leaf.shape) * 0.618 % 1, leaf.dtype)


def _are_close(tree: Vector, like: Vector) -> bool:
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(like), strict=True)
    return all(bool(jnp.all(jnp.abs(x - y) <= 16 * jnp.finfo(y.dtype).eps * jnp.abs(y))) for x, y in pairs)
