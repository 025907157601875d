"""The two sides from which `D + K^T K` can be factorised: that of the rows, and that of the parameters."""

import abc
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .blocks import Part, Parts
from .in_turn import Token, cholesky, solve_lower, token
from .rows import AbstractRows, raveled_mass

Residual = Float[Array, "N C"] | None
"""Coordinates `e` in the rows of what lies in the range of `K^T`; `None` for zero."""


_ROUNDING = 1000
"""Units of rounding that a residual may have before it is solved for again."""


class AbstractSide(eqx.Module):
    """A factorisation of `D + K^T K`, and the symmetric system it solves.

    Attributes:
        rows: `K`.
        mass: the diagonal of `D` by leaf.
        lower: the Cholesky factor, one for each layer of the factor if there are several.
    """

    rows: AbstractRows
    mass: Part
    lower: Float[Array, "*L n n"]

    @abc.abstractmethod
    def right(self, covector: Part, residual: Residual) -> Any:
        """The right-hand side of the system for `covector + K^T residual`."""

    @abc.abstractmethod
    def system(self, unknown: Any) -> Any:
        """The product with the system's matrix."""

    @abc.abstractmethod
    def solve(self, right: Any, after: Token, refined: bool = False) -> Any:
        """The solution of the system; `refined` where a part is known by its coordinates, and worth its digits."""

    @abc.abstractmethod
    def value(self, unknown: Any) -> Part:
        """What is wanted of the solution."""


class RowSide(AbstractSide):
    """Through the inner matrix `I + K D^-1 K^T`, whose eigenvalues are at least one.

    With `s = K x - e` it is the symmetric system `D x + K^T s = g`, `K x - s = e`, solved by
    `s = (I + K D^-1 K^T)^-1 (K D^-1 g - e)`. What comes as `e` is pushed through: nothing is subtracted, and a small
    mass costs no accuracy. What comes as `g` loses about `eps |K|^2 / mass` of it.
    """

    @classmethod
    def of(cls, rows: AbstractRows, mass: Part, after: Token = 0.0) -> "RowSide":
        return cls(rows, mass, cholesky(inner_matrix(rows, mass), after))

    def right(self, covector: Part, residual: Residual) -> tuple[Part, Array]:
        shape = self.rows.row_shape
        rows = jnp.zeros(shape, self.lower.dtype) if residual is None else jnp.broadcast_to(residual, shape)
        return covector, rows

    def system(self, unknown: tuple[Part, Array]) -> tuple[Part, Array]:
        part, slack = unknown
        top = tuple(m * v + b for m, v, b in zip(self.mass, part, self.rows.rmv(slack), strict=True))
        return top, self.rows.mv(part) - slack

    def solve(self, right: tuple[Part, Array], after: Token, refined: bool = False) -> tuple[Part, Array]:
        covector, residual = right
        part, slack = self._once(covector, residual, after)
        if not refined:
            return part, slack
        # Where a large `g` and a small mass have left rounding in `K x - s = e`, it is pushed through once more. Of a
        # `g` alone rounding is no better known than `g` is: a large residual there says that nothing can be solved.
        moved = self.rows.mv(part)
        missing = residual - moved + slack
        size = jnp.maximum(jnp.linalg.norm(residual), jnp.linalg.norm(moved))

        def again(missing: Array) -> tuple[Part, Array]:
            nothing = jax.tree.map(jnp.zeros_like, part)
            change = self._once(nothing, missing, token(slack))
            return jax.tree.map(jnp.add, (part, slack), change)

        wrong = jnp.linalg.norm(missing) > _ROUNDING * jnp.finfo(size.dtype).eps * size
        return jax.lax.cond(wrong, again, lambda _: (part, slack), missing)

    def _once(self, covector: Part, residual: Array, after: Token) -> tuple[Part, Array]:
        base = divide(covector, self.mass)
        slack = solve_lower(self.lower, self.rows.mv(base) - residual + after)
        return jax.tree.map(jnp.subtract, base, divide(self.rows.rmv(slack), self.mass)), slack

    def value(self, unknown: tuple[Part, Array]) -> Part:
        return unknown[0]


class ParameterSide(AbstractSide):
    """Through the matrix itself, `D + K^T K`: for blocks with fewer parameters than rows."""

    @classmethod
    def of(cls, rows: AbstractRows, mass: Part, after: Token = 0.0) -> "ParameterSide":
        return cls(rows, mass, cholesky(matrices_by_layer(rows, mass), after))

    def right(self, covector: Part, residual: Residual) -> Part:
        if residual is None:
            return covector
        back = self.rows.rmv(jnp.broadcast_to(residual, self.rows.row_shape))
        return jax.tree.map(jnp.add, covector, back)

    def system(self, unknown: Part) -> Part:
        return product(self.rows, self.mass, unknown)

    def solve(self, right: Part, after: Token, refined: bool = False) -> Part:
        flat, unravel = ravel_pytree(right)
        places = self.rows.places if self.lower.ndim == 3 else self.rows.places[0]
        return unravel(jnp.zeros_like(flat).at[places].set(solve_lower(self.lower, flat[places] + after)))

    def value(self, unknown: Part) -> Part:
        return unknown


def smaller_side(rows: AbstractRows, mass: Part) -> str:
    """The side with the smaller matrix: `"rows"` or `"parameters"`."""
    return "rows" if rows.count <= rows.columns else "parameters"


def solve_in_turn(sides: Sequence[AbstractSide], covectors: Parts, residual: Residual = None) -> Parts:
    """`(D + K^T K)^-1 (g + K^T e)` for each block, with the same `e` for all of them.

    Differentiable to any order by the implicit function theorem: a derivative costs one more solve with the factors
    at hand, and no factorisation is differentiated.

    Returns:
        The solution by block and leaf; NaN where `D` is not positive or something is not finite.
    """
    # One vector: JAX can't transpose a solve of which only a part of the solution is used.
    rights = [side.right(covector, residual) for side, covector in zip(sides, covectors, strict=True)]
    flat, unravel = ravel_pytree(rights)

    def system(unknown):
        return ravel_pytree([side.system(part) for side, part in zip(sides, unravel(unknown), strict=True)])[0]

    def solve(_, right):
        solved, after = [], 0.0
        for side, part in zip(sides, unravel(right), strict=True):
            solved.append(side.solve(part, after, refined=residual is not None))
            after = token(jax.tree.leaves(solved[-1])[-1])
        return ravel_pytree(solved)[0]

    unknowns = unravel(jax.lax.custom_linear_solve(system, flat, solve, symmetric=True))
    return tuple(side.value(unknown) for side, unknown in zip(sides, unknowns, strict=True))


def product(rows: AbstractRows, mass: Part, vector: Part) -> Part:
    """`(D + K^T K) vector`."""
    return tuple(b + m * v for b, m, v in zip(rows.rmv(rows.mv(vector)), mass, vector, strict=True))


def inner_matrix(rows: AbstractRows, mass: Part) -> Float[Array, "*L R R"]:
    """`I + K D^-1 K^T`: symmetric, no eigenvalue below one."""
    gram = rows.gram(mass)
    return gram + jnp.broadcast_to(jnp.eye(gram.shape[-1], dtype=gram.dtype), gram.shape)


def matrices_by_layer(rows: AbstractRows, mass: Part) -> Float[Array, "*L P P"]:
    """`D + K^T K`, of each layer of the factor if there are several."""
    normal = rows.normal()
    entries = raveled_mass(mass, rows.shapes).astype(normal.dtype)[rows.places]
    diagonals = jnp.eye(normal.shape[-1], dtype=normal.dtype)[None] * entries[:, None, :]
    return normal + (diagonals if normal.ndim == 3 else diagonals[0])


def divide(part: Part, mass: Part) -> Part:
    """`D^-1 part`."""
    return tuple(leaf / entry for leaf, entry in zip(part, mass, strict=True))
