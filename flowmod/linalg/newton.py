"""Newton's method with a line search, for the equations of an implicit step: a root, or NaN."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import gmres
from jaxtyping import Array, Bool, Float

from .lanczos import Product

Flat = Float[Array, " n"]

MOST_ITERATIONS = 100

_DENSE = 200
"""Numbers up to which a derivative is formed and factored; above, its equations are solved by GMRES."""

_SHORTEST = 2.0**-40
"""The part of a correction below which a line search gives up."""


class Correction(NamedTuple):
    """Where to go from a point.

    Attributes:
        vector: the whole correction.
        merit: what should fall along it, at the point.
        slope: the derivative of the merit along the correction.
    """

    vector: Flat
    merit: Float[Array, ""]
    slope: Float[Array, ""]


def newton(
    residual: Callable[[Flat], Flat],
    start: Flat,
    floor: Float[Array, ""],
    *,
    length: Callable[[Flat, Flat], Float[Array, ""]] | None = None,
    correct: Callable[[Flat], Correction] | None = None,
    merit: Callable[[Flat], Float[Array, ""]] | None = None,
) -> Flat:
    """The root of `residual` near `start`, or NaN if it is not found.

    Far from the root each correction is shortened until `merit` falls, so that a large implicit step does not jump to
    another root, or out of the domain. Near it, where corrections are less than `eps^(1/3)` of the way, they are taken
    whole, because rounding hides the fall; the iteration ends when a correction is rounding, or no longer halves, and
    the merit does not fall any more as its slope promises.

    Differentiable to any order in what `residual` closes over, by the implicit function theorem.

    Args:
        residual: what should vanish, a function of flat vectors.
        start: where to begin.
        floor: a length, of which rounding is a small part: corrections are measured relative to the way from `start`,
            but at least to this.
        length: `(x, vector)` to the length of a vector at `x`; Euclidean by default.
        correct: the correction at a point; Newton's by default, with the derivative of `residual`.
        merit: what should fall; half the square of `residual` by default.
    """
    length = length or (lambda x, vector: jnp.linalg.norm(vector))
    correct = correct or (lambda x: _newton_correction(residual, x))
    merit = merit or (lambda x: jnp.sum(residual(x) ** 2) / 2)

    def solve(_, start):
        return _iterate(correct, merit, length, start, floor)

    return jax.lax.custom_root(residual, start, solve, _solve_linear)


def _newton_correction(residual: Callable[[Flat], Flat], x: Flat) -> Correction:
    value, push = jax.linearize(residual, x)
    squared = jnp.sum(value**2)
    return Correction(_solve_linear(push, -value), squared / 2, -squared)


def _solve_linear(product: Product, b: Flat) -> Flat:
    """`A^-1 b` of a matrix given by its products, symmetric or not."""
    if b.size <= _DENSE:
        return jnp.linalg.solve(jax.vmap(product)(jnp.eye(b.size, dtype=b.dtype)).T, b)
    tolerance = float(jnp.finfo(b.dtype).eps) ** 0.6
    return gmres(product, b, tol=tolerance, restart=50, maxiter=20, solve_method="incremental")[0]


def _iterate(correct: Callable, merit: Callable, length: Callable, start: Flat, floor: Float[Array, ""]) -> Flat:
    eps = float(jnp.finfo(start.dtype).eps)

    def going(carry):
        _, _, found, lost, iterations = carry
        return ~found & ~lost & (iterations < MOST_ITERATIONS)

    def step(carry):
        x, before, _, _, iterations = carry
        correction = correct(x)
        size = length(x, correction.vector)
        relative = jnp.where(size > 0, size / jnp.maximum(_way(length, x, start), floor), size)
        # A length may call a correction short that is a long one for the residual: the merit has to agree.
        fallen = merit(x + correction.vector) - correction.merit
        steady = fallen <= -1.5 * correction.slope + _rounding(correction)
        falling = fallen < correction.slope / 4 - _rounding(correction)
        near = (relative <= eps ** (1 / 3)) & steady
        idle = near & (before <= eps ** (1 / 3)) & (relative > before / 2)
        tiny = relative <= eps**0.75
        part = _part(merit, x, correction, near)
        found = (tiny | idle) & ~falling
        lost = ~jnp.isfinite(size) | ((part < _SHORTEST) & ~tiny)
        return x + part * correction.vector, relative, found & ~lost, lost, iterations + 1

    carry = (start, jnp.full((), jnp.inf, start.dtype), jnp.zeros((), bool), jnp.zeros((), bool), 0)
    x, _, found, *_ = jax.lax.while_loop(going, step, carry)
    return jnp.where(found, x, jnp.nan)


def _way(length: Callable, x: Flat, start: Flat) -> Float[Array, ""]:
    """The length of `x - start` at `x`, or of `x` itself if that is less: a `start` far away must not hide an error."""
    own = jnp.where(jnp.any(start != 0), length(x, x), jnp.inf)
    return jnp.minimum(length(x, x - start), own)


def _part(merit: Callable, x: Flat, correction: Correction, whole: Bool[Array, ""]) -> Float[Array, ""]:
    """The largest of 1, 1/2, 1/4, ... that makes the merit fall by a share of what its slope promises; 1 if `whole`."""

    def halve(carry):
        part = carry[0] / 2
        fallen = merit(x + part * correction.vector) - correction.merit
        return part, whole | (fallen <= 1e-4 * part * correction.slope + _rounding(correction))

    def going(carry):
        part, enough = carry
        return ~enough & (part >= _SHORTEST)

    return jax.lax.while_loop(going, halve, (jnp.full((), 2, x.dtype), jnp.zeros((), bool)))[0]


def _rounding(correction: Correction) -> Float[Array, ""]:
    """Below this a change of the merit is noise."""
    return 16 * jnp.finfo(correction.merit.dtype).eps * jnp.abs(correction.merit)
