"""Conjugate gradients on all blocks of a block-diagonal operator in one loop, with a residual that can be trusted.

Why not lineax's: it has one step length for all blocks, so that the stiffest block sets the pace of each; it ends at
its first step, without a word, where the right-hand side has an entry zero and `atol` is zero; and its result carries
no residual.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .blocks import Parts

MOST_STEPS = 2000


class Solution(NamedTuple):
    """What an inner solve gives.

    Attributes:
        value: the solution, a vector by block and leaf, or a tree like the state.
        residual: `|A x - b| / |b|` of each block, worked out from the solution, (B,).
        converged: whether the residual of every block is what was asked for.
    """

    value: Any
    residual: Float[Array, " B"]
    converged: Bool[Array, ""]


def conjugate_gradients(operator: Callable[[Parts], Parts], b: Parts, tolerance: Any) -> Solution:
    """Solve `A x = b` for a symmetric positive definite, block-diagonal `A`.

    Differentiable to any order, by the implicit function theorem: a derivative costs one more solve.

    Args:
        operator: `x -> A x` on vectors by block and leaf.
        b: the right-hand side.
        tolerance: the relative residual at which a block is done.

    Returns:
        A `Solution`; its value is what the last step gave, converged or not. It counts as converged if the true
        residual is at most ten times the tolerance, or rounding: the one that the iteration carries drifts from it.
    """
    value = jax.lax.custom_linear_solve(operator, b, lambda A, b: _iterate(A, b, tolerance), symmetric=True)
    residual = relative_residual(operator(value), b)
    rounding = 100 * float(jnp.finfo(residual.dtype).eps)
    return Solution(value, residual, jnp.all(residual <= jnp.maximum(10 * tolerance, rounding)))


def relative_residual(ax: Parts, b: Parts) -> Float[Array, " B"]:
    """`|A x - b| / |b|` of each block; zero where `b` is."""
    missing = jax.tree.map(jnp.subtract, ax, b)
    squared = _dots(b, b)
    return jnp.sqrt(_dots(missing, missing) / jnp.where(squared > 0, squared, 1))


def _iterate(operator, b, tolerance):
    goal = _dots(b, b) * jnp.asarray(tolerance, _dots(b, b).dtype) ** 2

    def going(carry):
        _, _, _, squared, steps = carry
        # A residual that is not finite compares as false, and ends the loop.
        return jnp.any(squared > goal) & jnp.all(jnp.isfinite(squared)) & (steps < MOST_STEPS)

    def step(carry):
        x, r, p, squared, steps = carry
        active = squared > goal
        ap = operator(p)
        curvature = _dots(p, ap)
        alpha = jnp.where(active, squared / jnp.where(active, curvature, 1), 0)
        x, r = _axpy(alpha, p, x), _axpy(-alpha, ap, r)
        after = jnp.where(active, _dots(r, r), squared)
        beta = jnp.where(active, after / jnp.where(active, squared, 1), 0)
        return x, r, _axpy(beta, p, r), after, steps + 1

    start = (jax.tree.map(jnp.zeros_like, b), b, b, _dots(b, b), jnp.asarray(0))
    return jax.lax.while_loop(going, step, start)[0]


def _dots(a: Parts, b: Parts) -> Float[Array, " B"]:
    return jnp.stack([sum(jnp.vdot(x, y) for x, y in zip(u, v, strict=True)) for u, v in zip(a, b, strict=True)])


def _axpy(scale: Float[Array, " B"], x: Parts, y: Parts) -> Parts:
    return tuple(
        tuple(scale[index] * u + v for u, v in zip(parts, others, strict=True))
        for index, (parts, others) in enumerate(zip(x, y, strict=True))
    )
