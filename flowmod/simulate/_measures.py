"""What is measured along a trajectory: potential, energy, dual norm of the gradient, the metric's solve by layer.

They are functions of the states, so they are worked out when they are first looked at: a run costs what its solve
costs, and the loss of a large network is not evaluated at every step for nobody.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._tree import combine, dot, floats, is_traced
from .._typing import Args
from ..flow import AbstractFlow
from ..metric import AbstractModularMetric, Euclidean, modular_descent, report_of, steepest_descent
from ._program import compiled

_CHUNKS = ((32, 8), (2048, 64))
"""Trajectories up to a length, and the points of them in one call; 4096 for longer ones. Three programs serve all."""


class FlowMeasures(NamedTuple):
    """Measures evaluated with the flow that made the run; `rest` holds the leaves of the state that do not move."""

    flow: AbstractFlow
    args: Args
    rest: Any

    def along(self, name: str, ts, ys) -> Any:
        """`"energies"` or `"slopes"`, if there is a potential: see the functions below."""
        if not self.flow.balanced:
            return None
        return evaluate_along(_MEASURES[name], ts, floats(ys), (self.flow, self.args, self.rest))


class RecordedMeasures(NamedTuple):
    """Measures that were worked out before: read from a file, or inside a transformation."""

    recorded: dict[str, Any]

    def along(self, name: str, ts, ys) -> Any:
        return self.recorded.get(name)


def evaluate_along(fn, ts, ys, operands):
    """`fn(t, y, operands)` at every time of a trajectory.

    Concrete trajectories are padded to whole chunks, so that a new length is no new program. One point is computed
    after the other, because independent batched factorisations can hang XLA's thread pool on two cores.
    """
    if is_traced(ts, ys, operands):
        return jax.lax.map(lambda point: fn(*point, operands), (ts, ys))
    count, parts = len(ts), []
    if count == 0:
        point = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf)[1:], leaf.dtype), (ts, ys))
        shapes = eqx.filter_eval_shape(fn, *point, operands)
        return jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape), leaf.dtype), shapes)
    chunk = next((chunk for longest, chunk in _CHUNKS if count <= longest), 4096)
    for first in range(0, count, chunk):
        rows = np.minimum(np.arange(first, first + chunk), count - 1)
        t, y = jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], (ts, ys))
        parts.append(jax.tree.map(np.asarray, _map_chunk(fn, t, y, operands)))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)


@compiled
def _map_chunk(fn, ts, ys, operands):
    return jax.lax.map(lambda point: fn(*point, operands), (ts, ys))


def _energies(t, y, operands):
    """Potential and energy."""
    # Together, because for a first-order flow they are the same number.
    flow, args, rest = operands
    y = combine(y, rest)
    return flow.potential(flow.position(y), args), flow.energy(t, y, args)


def _slopes(t, y, operands):
    """Gradient norm, inner residual, and the layers where the metric has some."""
    # Together, because all take one solve of the metric: the one that the flow itself takes.
    flow, args, rest = operands
    place = flow.position(combine(y, rest))
    metric = Euclidean() if flow.metric is None else flow.metric.at(t)
    if isinstance(metric, AbstractModularMetric):
        descent = modular_descent(flow.potential, metric, place, args)
        covector, vector = descent.covector, descent.vector
        layers = report_of(metric, descent)
        residual = _relative(layers.residual * layers.gradient_norm, layers.gradient_norm)
    else:
        _, covector, vector = steepest_descent(flow.potential, metric, place, args)
        missing = jax.tree.map(jnp.add, metric.flat(place, vector, args), covector)
        residual, layers = _relative(missing, covector), None
    return jnp.sqrt(-dot(covector, vector)), residual, layers


def _relative(missing, whole):
    """`|missing| / |whole|`."""
    squared = dot(whole, whole)
    return jnp.sqrt(dot(missing, missing) / jnp.where(squared > 0, squared, 1))


_MEASURES = {"energies": _energies, "slopes": _slopes}
