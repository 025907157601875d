"""What becomes of the elements of a chain when its steps go to zero: operations on a signal that starts as a gradient.

Each takes the signal of one leaf at a time, together with the leaf itself and, where it remembers, its averages, and
gives back the next signal and how fast the averages change.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .clock import Coefficient, value

Leaf = Float[Array, "..."]
Averages = tuple[Leaf, ...]


class Answer(NamedTuple):
    """The next signal, and the velocities of the averages."""

    signal: Leaf
    moved: Averages = ()


class Multiply(eqx.Module):
    """`x -> by x`."""

    by: Coefficient

    def start(self, y: Leaf) -> Averages:
        return ()

    def __call__(self, t: Any, x: Leaf, y: Leaf, averages: Averages) -> Answer:
        return Answer(value(self.by, t, x.dtype) * x)


class Add(eqx.Module):
    """`x -> x + decay y`."""

    decay: Coefficient

    def start(self, y: Leaf) -> Averages:
        return ()

    def __call__(self, t: Any, x: Leaf, y: Leaf, averages: Averages) -> Answer:
        return Answer(x + value(self.decay, t, x.dtype) * y)


class Average(eqx.Module):
    """`a' = speed (x - a)`, and `x -> a`, over the sum of its weights, `1 - exp(-elapsed)`, where it is debiased.

    The average starts at zero, and the debiased one where the signal is.
    """

    speed: Coefficient
    elapsed: Coefficient | None

    def start(self, y: Leaf) -> Averages:
        return (jnp.zeros_like(y),)

    def __call__(self, t: Any, x: Leaf, y: Leaf, averages: Averages) -> Answer:
        (average,) = averages
        moved = value(self.speed, t, x.dtype) * (x - average)
        if self.elapsed is None:
            return Answer(average, (moved,))
        weight = -jnp.expm1(-value(self.elapsed, t, x.dtype))
        begun = weight > 0
        return Answer(jnp.where(begun, average / jnp.where(begun, weight, 1), x), (moved,))


class Normalise(eqx.Module):
    """`x -> a / (sqrt(s + eps_root) + eps)` with averages `a` of `x` and `s` of `x^2`, or with `x` and `x^2` itself."""

    eps: np.floating[Any]
    eps_root: np.floating[Any]
    initial: np.floating[Any]
    first: Average | None
    second: Average | None

    def start(self, y: Leaf) -> Averages:
        first = () if self.first is None else self.first.start(y)
        return first if self.second is None else (*first, jnp.full_like(y, self.initial))

    def __call__(self, t: Any, x: Leaf, y: Leaf, averages: Averages) -> Answer:
        square, moved = jnp.square(x), ()
        if self.second is not None:
            square, moved = self.second(t, square, y, averages[-1:])
        if self.first is not None:
            x, first = self.first(t, x, y, averages[:1])
            moved = (*first, *moved)
        return Answer(x / self._root(square), moved)

    def weight(self, x: Leaf) -> Leaf:
        """What a signal that stands still is divided by."""
        return self._root(jnp.square(x))

    def _root(self, square: Leaf) -> Leaf:
        eps, eps_root = (value(number, 0.0, square.dtype) for number in (self.eps, self.eps_root))
        # A solver's trial step may overshoot zero by rounding.
        inside = jnp.maximum(square, 0) + eps_root
        # The root's derivative at zero is infinite, and what is divided by it is zero there.
        nothing = inside == 0
        return jnp.where(nothing, 0, jnp.sqrt(jnp.where(nothing, 1, inside))) + eps


Operation = Multiply | Add | Average | Normalise
