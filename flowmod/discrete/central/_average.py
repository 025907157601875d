"""The velocity of the averaged iterates: the gradient, and what oscillations along critical directions add to it."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._tree import combine, ravel, unraveler
from ..._typing import Args, Potential, State
from ...linalg import Product
from ...metric import value_and_covector
from .complementarity import complementary, matrix, upper, weights

_NEAR = 0.95
"""Of the threshold: below it a direction is not critical within a step, and its curvature's slope is not needed."""


class Threshold(NamedTuple):
    """When a direction is critical, and how fast the averaged iterates answer.

    Attributes:
        curvature: the largest stable eigenvalue of `M^-1 H`, in 1/time.
        relaxation: the time in which a curvature above it is brought back, positive.
        speed: of the averaged iterates relative to the gradient flow: `1 / (1 - momentum)`.
    """

    curvature: Float[Array, ""]
    relaxation: Float[Array, ""]
    speed: Float[Array, ""]

    def is_near(self, values: Float[Array, " k"]):
        return values > _NEAR * self.curvature


class Average(NamedTuple):
    """The averaged motion at a state.

    Attributes:
        value: the potential there.
        covector: its gradient, (n,).
        velocity: of the averaged iterates, (n,).
        covariance: `X` in the basis of the leading eigenvectors: the oscillation's covariance is `U X U^T`, (k, k).
    """

    value: Float[Array, ""]
    covector: Float[Array, " n"]
    velocity: Float[Array, " n"]
    covariance: Float[Array, "k k"]


def curvature_slopes(potential: Potential, y: State, args: Args, u: Float[Array, " n"]) -> Product:
    """`v -> the gradient of u^T H(y) v` with `u` and `v` held, flat: the third derivatives of a potential along two."""
    unravel = unraveler(y)

    def gradient(x):
        return ravel(value_and_covector(potential, combine(unravel(x), y), args)[1])

    return jax.linearize(lambda x: jax.jvp(gradient, (x,), (u,))[1], ravel(y))[1]


def average(
    potential: Potential,
    solve: Product,
    y: State,
    args: Args,
    values: Float[Array, " k"],
    vectors: Float[Array, "k n"],
    threshold: Threshold,
) -> Average:
    """The velocity `-speed M^-1 (df + d<H, Sigma> / 2)` with the `Sigma` that keeps the curvature at the threshold.

    `Sigma = U X U^T` solves a complementarity problem: the margins `S = threshold - U^T H U`, as they will be after the
    time `relaxation`, are not negative, and `X` is not zero only where they are zero.
    """
    k = len(values)
    value, covector = value_and_covector(potential, y, args)
    covector = ravel(covector)
    descent = solve(covector)
    near = threshold.is_near(values)

    def oscillating(_):
        slopes, images = _slopes(potential, solve, y, args, vectors, near)
        scaled = jnp.asarray(weights(k), slopes.dtype)
        pull = threshold.relaxation * threshold.speed
        margins = jnp.diag(threshold.curvature - values) + pull * matrix(scaled * (slopes @ descent), k)
        # A direction that is not critical has a margin, and no oscillation.
        margins = jnp.where(near[:, None] & near[None, :], margins, jnp.diag(jnp.full(k, threshold.curvature)))
        gram = pull / 2 * (scaled[:, None] * scaled[None, :]) * (slopes @ images.T)
        found = complementary(margins, gram)
        # Rounding leaves far less, and a problem without a solution a residual of about one.
        solved = found.residual <= jnp.sqrt(jnp.finfo(found.value.dtype).eps)
        covariance = jnp.where(solved, found.value, jnp.nan)
        return descent + upper(covariance) * scaled**2 @ images / 2, covariance

    def still(_):
        return descent, jnp.zeros((k, k), descent.dtype)

    force, covariance = jax.lax.cond(jnp.any(near), oscillating, still, None)
    return Average(value, covector, -threshold.speed * force, covariance)


def _slopes(potential, solve, y, args, vectors, near):
    """The slopes of `u_i^T H u_j` for `i <= j`, (p, n), and `M^-1` of them; zero where one is not critical."""
    k = len(vectors)
    zeros = jnp.zeros_like(vectors[0])

    def row(i, needed):
        # What `H u_i` linearised keeps serves all `j`; a pair that is not critical costs nothing.
        slope = curvature_slopes(potential, y, args, vectors[i])

        def pair(v):
            covector = slope(v)
            return covector, solve(covector)

        return [jax.lax.cond(needed[j], pair, lambda v: (zeros, zeros), vectors[j]) for j in range(i, k)]

    rows = []
    for i in range(k):
        none = [(zeros, zeros)] * (k - i)
        rows += jax.lax.cond(near[i], functools.partial(row, i), lambda needed, none=none: none, near)
    covectors, images = (jnp.stack(leaves) for leaves in zip(*rows, strict=True))
    return covectors, images
