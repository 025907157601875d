"""Conjugate gradients on all blocks of a block-diagonal operator in one loop, with a residual that can be trusted.

Why not lineax's: it has one step length for all blocks, so that the stiffest block sets the pace of each; it ends at
its first step, without a word, where the right-hand side has an entry zero and `atol` is zero; and its result carries
no residual.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from .blocks import Parts

MOST_STEPS = 2000
"""Of a block, over all rounds."""

PATIENCE = 200
"""How many steps a block may take to halve its residual: at a slower pace it would not be done in `MOST_STEPS`."""

Product = Callable[[Parts], Parts]


class Solution(NamedTuple):
    """What an inner solve gives.

    Attributes:
        value: the solution, a vector by block and leaf, or a tree like the state.
        residual: `|A x - b| / |b|` of each block, worked out from the solution, (B,).
        converged: whether the residual of every block is what was asked for.
        iterations: how many steps each block took, (B,); zero for a factorisation.
    """

    value: Any
    residual: Float[Array, " B"]
    converged: Bool[Array, ""]
    iterations: Int[Array, " B"]


def conjugate_gradients(operator: Product, b: Parts, tolerance: Any, preconditioner: Product | None = None) -> Solution:
    """Solve `A x = b` for a symmetric positive definite, block-diagonal `A`.

    The residual that the iteration carries drifts from the true one. When it is small enough the true one is worked
    out, and the iteration starts again from it until it is as small as asked, or no longer halves: a tolerance below
    what rounding allows ends there.

    Differentiable to any order, by the implicit function theorem: a derivative costs one more solve. Only the value
    has a derivative.

    Args:
        operator: `x -> A x` on vectors by block and leaf.
        b: the right-hand side.
        tolerance: the relative residual at which a block is done.
        preconditioner: `r -> P r`, block-diagonal as well, with `P` symmetric positive definite and near `A^-1`. With
            another `P` the iteration may not converge, and says so.

    Returns:
        A `Solution`; its value is the best one that was found, converged or not. It counts as converged if the true
        residual is at most ten times the tolerance, or rounding.
    """
    precondition = preconditioner or (lambda r: r)

    # What is told of the solve rides along as further unknowns: `has_aux` of `custom_linear_solve` has no `vmap`. All
    # are one vector: JAX can't transpose a solve of which only a part has a derivative.
    right, unravel = ravel_pytree((b, jnp.zeros((2, len(b)), b[0][0].dtype)))

    def system(unknown):
        parts, report = unravel(unknown)
        return ravel_pytree((operator(parts), report))[0]

    def solve(_, right):
        value, residual, steps = _solve(operator, unravel(right)[0], tolerance, precondition)
        return ravel_pytree((value, jnp.stack([residual, steps.astype(residual.dtype)])))[0]

    value, report = unravel(jax.lax.custom_linear_solve(system, right, solve, symmetric=True))
    residual, steps = jax.lax.stop_gradient(report)
    accepted = jnp.maximum(10 * tolerance, 100 * float(jnp.finfo(residual.dtype).eps))
    return Solution(value, residual, jnp.all(residual <= accepted), steps.astype(int))


def relative_residual(ax: Parts, b: Parts) -> Float[Array, " B"]:
    """`|A x - b| / |b|` of each block; zero where `b` is."""
    missing = jax.tree.map(jnp.subtract, ax, b)
    squared = _dots(b, b)
    return jnp.sqrt(_dots(missing, missing) / jnp.where(squared > 0, squared, 1))


def _solve(operator: Product, b: Parts, tolerance: Any, precondition: Product):
    """The solution, its relative residual and the number of steps, by block."""
    # Of length one, or the square of its length might be no number of this precision.
    largest = jnp.stack([jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in part])) for part in b])
    largest = jnp.where(largest > 0, largest, 1)
    b = _scaled(1 / largest, b)
    length = jnp.sqrt(_dots(b, b))
    length = jnp.where(length > 0, length, 1)
    b = _scaled(1 / length, b)
    goal = jnp.maximum(jnp.asarray(tolerance, length.dtype), jnp.finfo(length.dtype).eps)

    def again(carry):
        x, r, residual, steps, going = carry
        change, steps = _iterate(operator, r, goal, precondition, going, steps, jnp.sqrt(_dots(x, x)))
        tried = jax.tree.map(jnp.add, x, change)
        missing = jax.tree.map(jnp.subtract, b, operator(tried))
        reached = jnp.sqrt(_dots(missing, missing))
        # Not a number is not better.
        better = going & (reached < residual)
        going = going & (reached > goal) & (reached < residual / 2) & (steps < MOST_STEPS)
        return _where(better, tried, x), _where(better, missing, r), jnp.where(better, reached, residual), steps, going

    residual = jnp.sqrt(_dots(b, b))
    start = (jax.tree.map(jnp.zeros_like, b), b, residual, jnp.zeros(len(b), int), residual > goal)
    x, _, residual, steps, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[-1]), again, start)
    return _scaled(largest * length, x), residual, steps


def _iterate(operator: Product, b: Parts, goal, precondition: Product, going, steps, size):
    """One round: a solution of `A x = b` whose carried residual is below the goal, and the number of steps by then.

    It ends before if the carried residual is below a tenth of the rounding of `A x`: the true one no longer follows.
    """
    eps = jnp.finfo(size.dtype).eps

    def step(carry):
        x, r, p, slope, norm, least, idle, steps, active = carry
        ap = operator(p)
        curvature = _dots(p, ap)
        # Neither is positive where the operator or the preconditioner is not.
        active = active & (curvature > 0) & (slope > 0)
        alpha = jnp.where(active, slope / jnp.where(active, curvature, 1), 0)
        x, r = _axpy(alpha, p, x), _axpy(-alpha, ap, r)
        z = precondition(r)
        after, squared = _dots(r, z), _dots(r, r)
        norm = jnp.maximum(norm, jnp.sqrt(_dots(ap, ap) / jnp.where(active, _dots(p, p), 1)))
        # A little below the goal, so that the true residual is as a rule below it too.
        enough = jnp.maximum(0.8 * goal, 0.1 * eps * norm * (size + jnp.sqrt(_dots(x, x))))
        beta = jnp.where(active, after / jnp.where(active, slope, 1), 0)
        halved = squared < least / 4
        least, idle, steps = (
            jnp.where(halved, squared, least),
            jnp.where(halved, 0, idle + 1),
            steps + active.astype(int),
        )
        active = active & (squared > enough**2) & (idle < PATIENCE) & (steps < MOST_STEPS)
        return x, r, _axpy(beta, p, z), after, norm, least, idle, steps, active

    z = precondition(b)
    zero = jax.tree.map(jnp.zeros_like, b)
    start = (zero, b, z, _dots(b, z), jnp.zeros_like(size), _dots(b, b), jnp.zeros_like(steps), steps, going)
    x, *_, steps, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[-1]), step, start)
    return x, steps


def _dots(a: Parts, b: Parts) -> Float[Array, " B"]:
    return jnp.stack([sum(jnp.vdot(x, y) for x, y in zip(u, v, strict=True)) for u, v in zip(a, b, strict=True)])


def _axpy(scale: Float[Array, " B"], x: Parts, y: Parts) -> Parts:
    return jax.tree.map(jnp.add, _scaled(scale, x), y)


def _scaled(scale: Float[Array, " B"], x: Parts) -> Parts:
    return tuple(tuple(scale[index] * leaf for leaf in part) for index, part in enumerate(x))


def _where(condition: Bool[Array, " B"], x: Parts, y: Parts) -> Parts:
    return tuple(
        tuple(jnp.where(condition[index], u, v) for u, v in zip(part, other, strict=True))
        for index, (part, other) in enumerate(zip(x, y, strict=True))
    )
