"""Gradient descent, heavy ball or Nesterov's momentum, recognised by what an optimizer answers to one gradient.

Each is a linear recursion of the gradients, and so is known by its answer to one gradient that is followed by zeros:
`-h` times the gradient times `c, c b, c b^2, ...` for a heavy ball of momentum `b` (none for `b = 0`), and
`c (1 + b), c b^2, c b^3, ...` for Nesterov's.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import is_float_array
from ..._typing import Covector, Vector
from ...flow import AbstractFlow
from ._optimizer import Optimizer
from ._reference import Reference

_ANSWERS = 4


class Recursion(NamedTuple):
    """A method that `fm.step_limit` knows, at a multiple of the step size.

    Attributes:
        method: its name.
        momentum: its momentum, `None` if it has none.
        factor: its step over the step size of the sweep.
    """

    method: str
    momentum: float | None
    factor: float


def recursion_of(optimizer: Optimizer, step_size: float, flow: AbstractFlow, reference: Reference) -> Recursion | None:
    """The recursion that an optimizer is, as far as large gradients and late counts can tell; `None` for another."""
    made, leaves = optimizer.at(step_size, flow), reference.example
    state = optimizer.init(made, leaves)
    held = [leaf for leaf in jax.tree.leaves(state) if is_float_array(leaf)]
    if [leaf.shape for leaf in held] not in ([], [leaf.shape for leaf in jax.tree.leaves(leaves)]):
        return None
    # Clipping shows with large gradients, weight decay with parameters away from zero, a schedule with time.
    gradient = jax.tree.map(lambda leaf: 1e3 * _pattern(leaf), leaves)
    moved = jax.tree.map(lambda leaf: leaf + _pattern(leaf), leaves)
    late = jax.tree.map(lambda leaf: leaf + 10**6 if jnp.issubdtype(leaf.dtype, jnp.integer) else leaf, state)
    loss = reference.loss_at(leaves)
    found = []
    for factor, counts in ((1.0, state), (-0.5, late)):
        answers, given = [], jax.tree.map(lambda leaf, factor=factor: factor * leaf, gradient)
        for _ in range(_ANSWERS):
            update, counts = optimizer.update(made, given, counts, moved, loss, reference)
            answers.append(_multiple(update, gradient) / (-step_size * factor))
            given = jax.tree.map(jnp.zeros_like, gradient)
        found.append(answers)
    tolerance = 64 * float(jnp.finfo(jax.tree.leaves(leaves)[0].dtype).eps)
    if not np.isfinite(found).all() or not np.allclose(*found, rtol=tolerance, atol=tolerance * abs(found[0][0])):
        return None
    return _recursion(np.mean(found, axis=0), tolerance)


def _recursion(answers: np.ndarray, tolerance: float) -> Recursion | None:
    first, second, third = answers[:3]
    if not (first > 0 and second >= 0):
        return None
    momentum = 0.0 if second <= tolerance * first else third / second
    powers = momentum ** np.arange(_ANSWERS)
    for method, weights in (
        ("heavy_ball", powers),
        ("nesterov", np.array([1 + momentum, *(powers[1:] * momentum)])),
    ):
        factor = first / weights[0]
        if momentum < 1 and np.allclose(answers, factor * weights, rtol=1e3 * tolerance, atol=tolerance * first):
            return Recursion(method, momentum, factor) if momentum else Recursion("euler", None, factor)
    return None


def _pattern(leaf: Any) -> Any:
    """Numbers between 1 and 2 in no order."""
    return jnp.asarray(1 + np.arange(leaf.size).reshape(leaf.shape) * 0.618 % 1, leaf.dtype)


def _multiple(tree: Vector, like: Covector) -> float:
    """The number by which `like` is multiplied, NaN if it is not the same everywhere."""
    ratios = [np.ravel(x) / np.ravel(y) for x, y in zip(jax.tree.leaves(tree), jax.tree.leaves(like), strict=True)]
    ratios = np.concatenate(ratios)
    spread = 32 * np.finfo(ratios.dtype).eps * np.abs(ratios).max()
    return float(ratios.mean()) if np.ptp(ratios) <= spread else float("nan")
