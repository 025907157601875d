"""The leading eigenpairs of `M^-1 H`, from those of a moment ago: block Krylov spaces, as small as they may be."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ...linalg import Product

_MOST_BLOCKS, _MOST_BASES = 4, 10
"""Of a basis, which is begun again from its best vectors when it is full, and of those in a search."""


class Leading(NamedTuple):
    """The algebraically largest eigenvalues of `M^-1 H`, falling, and how well they are known.

    Attributes:
        values: Ritz values, (b,): never above the true one of their rank.
        vectors: `u_i` with `u_i^T M u_j = 1` for `i = j`, else 0, (b, n).
        residuals: `|M^-1 H u - value u|_M`, (b,).
        products: how many products with `H` were taken.
    """

    values: Float[Array, " b"]
    vectors: Float[Array, "b n"]
    residuals: Float[Array, " b"]
    products: Int[Array, ""]


class _Search(NamedTuple):
    basis: Float[Array, "size n"]  # orthonormal in M, zero where it is not used
    images: Float[Array, "size n"]  # H of it
    flats: Float[Array, "size n"]  # M of it
    ahead: Float[Array, "b n"]  # what the basis will be extended by
    blocks: Int[Array, ""]
    best: Leading
    done: Bool[Array, ""]


def leading(
    product: Product, mass: Product, solve: Product, start: Float[Array, "b n"], wanted: Any, rtol: Any
) -> Leading:
    """The leading eigenpairs that a block of vectors leads to.

    A block that is good already is confirmed by one product for each of its vectors. Else it is extended by its
    residuals, `M^-1 (H u - value M u)`, until those that are wanted are small enough: the block Lanczos method, with
    the images of the whole basis kept, so that nothing of a recursion is lost to rounding.

    Args:
        product: `H d`; it is mapped over blocks.
        mass: `M d`.
        solve: `M^-1 g`.
        start: where to start, in any lengths; more vectors than are wanted, or what overtakes them is found late.
        wanted: `wanted(values) -> bool (b,)`: which of the pairs must be found to the tolerance.
        rtol: the residual to be reached, relative to the largest value.

    Returns:
        A `Leading`; NaN in, NaN out.

    Reference: G. H. Golub and R. Underwood, "The block Lanczos method for computing eigenvalues" (1977).
    """
    b, n = start.shape
    size = min(_MOST_BLOCKS * b, b * -(-n // b))
    products, masses, solves = (jax.vmap(function) for function in (product, mass, solve))
    nothing = jnp.zeros((size, n), start.dtype)
    unknown = jnp.full(b, jnp.inf, start.dtype)
    zero = jnp.zeros((), jnp.int32)
    search = _Search(nothing, nothing, nothing, start, zero, Leading(-unknown, start, unknown, zero), zero < 0)

    def extend(search: _Search) -> _Search:
        search = _extended(products, masses, solves, search)
        best = search.best
        small = best.residuals <= rtol * jnp.abs(best.values[0])
        found = jnp.all(small | ~wanted(best.values))
        ended = found | (best.products >= _MOST_BASES * size) | ~jnp.all(jnp.isfinite(best.residuals))
        full = (search.blocks + 1) * b > size
        again = _Search(nothing, nothing, nothing, best.vectors, zero, best, ended)
        return jax.lax.cond(full, lambda: again, lambda: search._replace(done=ended))

    return jax.lax.while_loop(lambda search: ~search.done, extend, search).best


def _extended(product, mass, solve, search: _Search) -> _Search:
    """One more block in the basis, the Ritz pairs of it, and their residuals ahead."""
    b = len(search.ahead)
    block = _orthonormal(mass, search.basis, search.flats, search.ahead)
    here = search.blocks * b
    basis, images, flats = (
        jax.lax.dynamic_update_slice(stored, rows, (here, jnp.zeros_like(here)))
        for stored, rows in ((search.basis, block), (search.images, product(block)), (search.flats, mass(block)))
    )
    values, combinations = _ritz(basis @ images.T, jnp.sum(basis * flats, axis=1) > 0.5, b)
    vectors = combinations @ basis
    covectors = combinations @ images - values[:, None] * (combinations @ flats)
    ahead = solve(covectors)
    residuals = jnp.sqrt(jnp.maximum(jnp.sum(covectors * ahead, axis=1), 0))
    best = Leading(values, vectors, residuals, search.best.products + b)
    return _Search(basis, images, flats, ahead, search.blocks + 1, best, search.done)


def _ritz(small: Float[Array, "s s"], used: Bool[Array, " s"], b: int):
    """The `b` largest eigenvalues of the part that is used, and their eigenvectors as rows."""
    small = (small + small.T) / 2
    bound = jnp.max(jnp.sum(jnp.abs(small), axis=1))
    filled = small - jnp.diag(jnp.where(used, 0, 2 * jnp.where(bound == 0, 1, bound)))
    values, vectors = jnp.linalg.eigh(filled, symmetrize_input=False)
    return values[::-1][:b], vectors.T[::-1][:b]


def _orthonormal(mass, basis, flats, block):
    """A block orthonormal to the basis and in itself; a direction that the basis has already becomes zero."""
    b = len(block)
    eps = jnp.finfo(block.dtype).eps
    for _ in range(2):
        block = block - (block @ flats.T) @ basis
        lengths = jnp.sqrt(jnp.maximum(jnp.sum(block * mass(block), axis=1), 0))
        block = block / jnp.where(lengths > 0, lengths, 1)[:, None]
        values, vectors = jnp.linalg.eigh(block @ mass(block).T, symmetrize_input=False)
        kept = values > 100 * b * eps
        block = (vectors * jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, values, 1)), 0)[None, :]).T @ block
    return block
