"""Solves with `D + K^T K` by blocks, through the small matrix on the side of the rows."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float

from .blocks import Part, Parts
from .rows import AbstractRows


def woodbury(
    factors: Sequence[AbstractRows],
    mass: Parts,
    lower: Float[Array, "B R R"],
    residual: Float[Array, "N C"] | None,
    covector: Parts | None,
) -> Parts:
    """`(D + K^T K)^-1 (K^T e + g)` for each block, with the same `e` for all of them.

    What lies in the range of `K^T` is pushed through, `D^-1 K^T (I + K D^-1 K^T)^-1 e`: nothing is subtracted, and a
    small mass costs no accuracy. For any other covector it is `D^-1 g - D^-1 K^T (I + K D^-1 K^T)^-1 K D^-1 g`, which
    loses about `eps |K|^2 / mass` of it.

    Args:
        factors: `K` of each block.
        mass: the diagonal of `D` by block and leaf, scalars or arrays like the leaves.
        lower: the factors of `inner_factors`.
        residual: `e`, (N, C), or `None` for zero.
        covector: `g` by block and leaf, or `None` for zero.

    Returns:
        The solution by block and leaf; NaN where `D` is not positive or something is not finite.
    """
    base = None if covector is None else tuple(map(_divide, covector, mass))
    rows = [jnp.zeros(()) if residual is None else residual] * len(factors)
    if base is not None:
        moved = [factor.mv(part) for factor, part in zip(factors, base, strict=True)]
        rows = [-m if residual is None else residual - m for m in moved]
    stacked = jnp.stack(rows)
    solved = cho_solve((lower, True), stacked.reshape(stacked.shape[0], -1, 1)).reshape(stacked.shape)
    back = [_divide(factor.rmv(row), m) for factor, row, m in zip(factors, solved, mass, strict=True)]
    return tuple(back) if base is None else jax.tree.map(jnp.add, tuple(back), base)


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
