"""Solves with `D + K^T K` by blocks, through the small matrix on the side of the rows."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float

from .blocks import Part, Parts
from .rows import AbstractRows


def woodbury(
    factors: Sequence[AbstractRows],
    mass: Parts,
    lower: Float[Array, "B R R"],
    residual: Float[Array, "N C"] | None,
    covector: Parts,
) -> Parts:
    """`(D + K^T K)^-1 (K^T e + g)` for each block, with the same `e` for all of them.

    With `s = K x - e` it is the symmetric system `D x + K^T s = g`, `K x - s = e`, solved by
    `s = (I + K D^-1 K^T)^-1 (K D^-1 g - e)`. What lies in the range of `K^T` and comes as `e` is pushed through:
    nothing is subtracted, and a small mass costs no accuracy. What comes as `g` loses about `eps |K|^2 / mass` of it.

    Differentiable to any order by the implicit function theorem: a derivative costs one more solve with the factors
    at hand, and no factorisation is differentiated.

    Args:
        factors: `K` of each block.
        mass: the diagonal of `D` by block and leaf, scalars or arrays like the leaves.
        lower: the factors of `inner_factors`.
        residual: `e`, (N, C), or `None` for zero.
        covector: `g` by block and leaf.

    Returns:
        The solution by block and leaf; NaN where `D` is not positive or something is not finite.
    """
    rows = [jnp.zeros_like(factor.mv(part)) for factor, part in zip(factors, covector, strict=True)]
    if residual is not None:
        rows = [row + residual for row in rows]

    # One vector: JAX can't transpose a solve of which only a part of the solution is used.
    right, unravel = ravel_pytree((covector, jnp.stack(rows)))

    def system(unknown):
        parts, slack = unravel(unknown)
        top = [
            tuple(m * v + b for m, v, b in zip(masses, part, factor.rmv(s), strict=True))
            for factor, masses, part, s in zip(factors, mass, parts, slack, strict=True)
        ]
        below = jnp.stack([factor.mv(part) for factor, part in zip(factors, parts, strict=True)]) - slack
        return ravel_pytree((tuple(top), below))[0]

    def solve(_, right):
        covector, residual = unravel(right)
        base = tuple(map(_divide, covector, mass))
        wanted = jnp.stack([factor.mv(part) for factor, part in zip(factors, base, strict=True)]) - residual
        slack = cho_solve((lower, True), wanted.reshape(wanted.shape[0], -1, 1)).reshape(wanted.shape)
        back = tuple(_divide(f.rmv(s), m) for f, s, m in zip(factors, slack, mass, strict=True))
        return ravel_pytree((jax.tree.map(jnp.subtract, base, back), slack))[0]

    return unravel(jax.lax.custom_linear_solve(system, right, solve, symmetric=True))[0]


def inner_matrices(factors: Sequence[AbstractRows], mass: Parts) -> Float[Array, "B R R"]:
    """`I + K D^-1 K^T` of every block: symmetric, no eigenvalue below one."""
    grams = jnp.stack([factor.gram(m) for factor, m in zip(factors, mass, strict=True)])
    return grams + jnp.eye(grams.shape[-1], dtype=grams.dtype)[None]


def inner_factors(factors: Sequence[AbstractRows], mass: Parts) -> Float[Array, "B R R"]:
    """The lower Cholesky factors of `inner_matrices`; NaN where `D` is not positive.

    One batched factorisation: several independent ones can hang XLA's thread pool on two cores.
    """
    return jnp.linalg.cholesky(inner_matrices(factors, mass))


def _divide(part: Part, mass: Part) -> Part:
    return tuple(leaf / entry for leaf, entry in zip(part, mass, strict=True))
