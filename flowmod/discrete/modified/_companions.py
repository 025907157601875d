"""What goes along with a flow to explain a gap: the first terms of the gap, and the modified flows."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import dtype_of, floats
from ..._typing import Args, State, Vector
from ...flow import GradientFlow, VectorField
from ...simulate import simulate
from ._series import Field, Point, System
from ._steps import METHODS
from .modified_flow import defects, modified_flow
from .modified_potential import SIGNS, has_modified_loss


class Companions(NamedTuple):
    """States along a run of the flow, leaves with a leading axis of times.

    Attributes:
        flow: the flow's.
        error: what `h^p` multiplies in the gap.
        regularisation: the part of it that the modified loss makes.
        modified: those of the modified flows.
    """

    flow: State
    error: Vector
    regularisation: Vector
    modified: tuple[State, ...]


def run_companions(
    flow: GradientFlow, y0: State, step_size: Any, times: np.ndarray, method: str, order: int, args: Args, options: dict
) -> Companions:
    """One run for all of them: the flow's own states are where the terms are needed.

    The gap `h^p e` of a method has `e' = v'(y) e + d(y)` along the flow, where `d` is what a step has in the first
    power of the step size in which it differs: its first modified flow is linear in `d`, to the first order.

    Raises:
        SimulationError: if they can't be run until the end.
    """
    # A gap of first order may have sources beside the modified loss: the coordinates, or a metric that moves.
    sources = 2 if method in SIGNS and not has_modified_loss(flow.metric, method) else 1
    followed = tuple(modified_flow(flow, step_size, number + 1, method) for number in range(order))
    field = _Together(flow, followed, method, sources)
    zero = jax.tree.map(jnp.zeros_like, floats(y0))
    start = y0, (zero,) * sources, (y0,) * order
    state, errors, modified = simulate(VectorField(field), start, ts=times, args=args, **options).ys
    regularisation = errors[-1] if method in SIGNS else jax.tree.map(np.zeros_like, errors[0])
    return Companions(state, errors[0], regularisation, modified)


class _Together(eqx.Module):
    flow: GradientFlow
    modified: tuple[VectorField, ...]
    method: str = eqx.field(static=True)
    sources: int = eqx.field(static=True)

    def __call__(self, t, state: tuple, args: Args) -> tuple:
        y, errors, modified = state
        system, chosen = System(self.flow, y, args), METHODS[self.method]
        point = jnp.asarray(t, dtype_of(y)), floats(y)
        sources = [_times(chosen.sign**chosen.order, defects(system, self.method)[0])]
        if self.sources == 2:
            still = System(GradientFlow(self.flow.potential, self.flow.metric.at(t)), y, args)
            sources.append(_times(SIGNS[self.method], defects(still, "geodesic")[0]))
        moved = tuple(_with_source(system, point, *pair) for pair in zip(errors, sources, strict=True))
        velocities = (flow.vector_field(t, place, args) for flow, place in zip(self.modified, modified, strict=True))
        return system(point)[1], moved, tuple(velocities)


def _with_source(system: System, point: Point, error: Vector, source: Field) -> Vector:
    """`v'(y) e + d(y)`."""
    _, carried = jax.jvp(system, (point,), ((jnp.zeros_like(point[0]), error),))
    return jax.tree.map(jnp.add, carried[1], source(point)[1])


def _times(sign: int, field: Field) -> Field:
    return lambda point: jax.tree.map(lambda leaf: sign * leaf, field(point))
