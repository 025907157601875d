"""Solves with `D + K^T K` by blocks, through the small matrix on the side of the rows."""

from collections.abc import Iterable, Sequence

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
    lowers: Sequence[Float[Array, "R R"]],
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
        lowers: the factors of `inner_factors`.
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
        slack = _one_after_the_other(wanted, lowers)
        back = tuple(_divide(f.rmv(s), m) for f, s, m in zip(factors, slack, mass, strict=True))
        return ravel_pytree((jax.tree.map(jnp.subtract, base, back), slack))[0]

    return unravel(jax.lax.custom_linear_solve(system, right, solve, symmetric=True))[0]


def inner_matrix(factor: AbstractRows, mass: Part) -> Float[Array, "R R"]:
    """`I + K D^-1 K^T` of a block: symmetric, no eigenvalue below one."""
    gram = factor.gram(mass)
    return gram + jnp.eye(gram.shape[0], dtype=gram.dtype)


def inner_factors(factors: Sequence[AbstractRows], mass: Parts) -> list[Float[Array, "R R"]]:
    """The lower Cholesky factor of each block's inner matrix; NaN where `D` is not positive."""
    return cholesky_in_turn(inner_matrix(factor, m) for factor, m in zip(factors, mass, strict=True))


def cholesky_in_turn(matrices: Iterable[Float[Array, "n n"]]) -> list[Float[Array, "n n"]]:
    """The lower Cholesky factors of matrices, each begun when the one before is done.

    Factorisations that are batched, or do not wait for each other, can block both threads of XLA's pool on a machine
    with two cores, each waiting for the other's parts: for ever.
    """
    lowers, before = [], 0.0
    for matrix in matrices:
        lowers.append(jnp.linalg.cholesky(matrix + before))
        before = 0 * lowers[-1][0, 0]
    return lowers


def _one_after_the_other(rows: Float[Array, "B N C"], lowers: Sequence[Float[Array, "R R"]]) -> Float[Array, "B N C"]:
    solved, before = [], 0.0
    for row, lower in zip(rows, lowers, strict=True):
        solved.append(cho_solve((lower, True), row.ravel() + before))
        before = 0 * solved[-1][0]
    return jnp.stack(solved).reshape(rows.shape)


def _divide(part: Part, mass: Part) -> Part:
    return tuple(leaf / entry for leaf, entry in zip(part, mass, strict=True))
