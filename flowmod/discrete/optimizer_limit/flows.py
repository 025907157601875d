"""The flow that the lines of an optimizer's leaves make: a gradient flow where they are one."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._tree import dot, floats
from ..._typing import Args, Covector, State, Vector
from ...flow import AbstractFlow, GradientFlow, InertialFlow, VectorField
from ...metric import AbstractMetric, DiagonalMetric
from .clock import number
from .lines import Lines
from .moment_flow import MomentFlow
from .moving_diagonal import MovingDiagonal


def flow_along(lines: Lines) -> AbstractFlow:
    """The flow of the lines, as what it is known best.

    Returns:
        A `GradientFlow`, Euclidean if every leaf goes down its gradient as it is, else in the diagonal metric that its
        gradient is divided by; a `VectorField` where there is no such metric, because a weight decay comes later, a
        leaf is frozen or a learning rate is zero at some time; an `InertialFlow` where every leaf has one plain
        average; else a `MomentFlow`.
    """
    decays = tuple(line.decay for line in lines.lines)
    if any(decays):
        lines = Lines(_Decayed(lines, decays), lines.lines, lines.structure)
    if any(line.remembers for line in lines.lines):
        return _inertial(lines) or MomentFlow(lines)
    if all(line.is_plain for line in lines.lines):
        return GradientFlow(lines.potential)
    if any(line.driven and line.stops for line in lines.lines):
        return VectorField(_Velocity(lines), potential=lines.potential)
    weights = _Weights(lines)
    metric = MovingDiagonal(weights) if lines.moves else DiagonalMetric(eqx.Partial(weights, 0.0))
    if all(line.follows_gradient for line in lines.lines):
        return GradientFlow(lines.potential, metric)
    return VectorField(_Velocity(lines), metric, lines.potential)


def _inertial(lines: Lines) -> InertialFlow | None:
    found = [line.inertia for line in lines.lines]
    if any(pair is None for pair in found):
        return None
    masses, frictions = zip(*(pair for pair in found if pair is not None), strict=True)
    return InertialFlow(lines.potential, _constant(lines, masses), _constant(lines, frictions))


def _constant(lines: Lines, numbers: tuple[float, ...]) -> AbstractMetric:
    return DiagonalMetric(_Spread(lines, tuple(map(number, numbers))))


class _Decayed(eqx.Module):
    """`f(y) + sum of decay |y|^2 / 2` over the leaves: weight decay that comes before all else is its gradient."""

    lines: Lines
    decays: tuple[np.floating[Any], ...]

    def __call__(self, y: State, args: Args = None) -> Float[Array, ""]:
        leaves = floats(y)
        decayed = jax.tree.map(jnp.multiply, self.lines.spread(self.decays, y), leaves)
        value = jnp.asarray(self.lines.potential(y, args))
        return value + dot(decayed, leaves).astype(value.dtype) / 2


class _Weights(eqx.Module):
    lines: Lines

    def __call__(self, t: Any, y: State, args: Args) -> Covector:
        return self.lines.weights(t, y, args)


class _Spread(eqx.Module):
    lines: Lines
    numbers: tuple[np.floating[Any], ...]

    def __call__(self, y: State, args: Args) -> Covector:
        return self.lines.spread(self.numbers, y)


class _Velocity(eqx.Module):
    lines: Lines

    def __call__(self, t: Any, y: State, args: Args) -> Vector:
        averages = self.lines.start(y)
        return self.lines.velocity(t, y, averages, args)[0]
