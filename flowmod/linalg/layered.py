"""The operator `D + K^T K`, block by block, on the tree of a state."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._tree import dot, floats
from .blocks import Blocks, Parts
from .conjugate_gradients import Solution, conjugate_gradients, relative_residual
from .diagonal_plus_gram import DiagonalPlusGram
from .in_turn import Token, token
from .lineax_rules import symmetric_positive
from .preconditioner import preconditioner
from .riccati import RiccatiSide
from .rows import AbstractRows
from .sides import AbstractSide, ParameterSide, Residual, RowSide, smaller_side, solve_in_turn


class Covector(NamedTuple):
    """A covector of which a part is known to lie in the range of `K^T`, as the gradient of a loss is.

    On the side of the rows that part is solved without cancellation, for a small mass too.

    Attributes:
        whole: `g + K^T e`, a tree like the state's float leaves.
        rest: `g`, the same tree if nothing is known.
        residual: `e`, (N, C), or `None` for zero.
    """

    whole: PyTree
    rest: PyTree
    residual: Residual = None


SIDES = {"rows": RowSide, "parameters": ParameterSide, "riccati": RiccatiSide}

_USELESS = 0.1
"""A relative residual of a factorisation beyond which its solution is none: in single precision a small mass, or a
fault of the rows."""


class LayeredOperator(lx.AbstractLinearOperator):
    """A symmetric positive definite lineax operator with the blocks `D_a + K_a^T K_a`.

    It is never formed, unless it is asked `as_matrix`. Use it in the trace in which it was made.

    Attributes:
        operators: `D_a + K_a^T K_a` of each block.
        blocks: which leaves form a block.
        like: the float leaves of a state, or their shapes.
    """

    operators: tuple[DiagonalPlusGram, ...]
    blocks: Blocks = eqx.field(static=True)
    like: PyTree

    @property
    def factors(self) -> tuple[AbstractRows, ...]:
        """`K_a` of each block."""
        return tuple(operator.rows for operator in self.operators)

    @property
    def mass(self) -> Parts:
        """The diagonal of `D_a` by block and leaf, scalars or arrays like the leaves."""
        return tuple(operator.diagonal for operator in self.operators)

    def mv(self, vector: PyTree) -> PyTree:
        return self.blocks.join(self.apply(self.blocks.split(vector)), self.like)

    def apply(self, parts: Parts) -> Parts:
        """The product by block and leaf."""
        return tuple(operator.mv(part) for operator, part in zip(self.operators, parts, strict=True))

    def solve(self, covector: Covector, solvers: Sequence[str], tolerance: Any) -> Solution:
        """`M^-1 covector`, by block.

        Args:
            covector: what is solved for.
            solvers: for each block `"rows"` or `"parameters"`, the side of a Cholesky factorisation, or
                `"conjugate_gradients"`.
            tolerance: the relative residual at which conjugate gradients end.
        """
        wanted, parts = self.blocks.split(covector.whole), self.blocks.split(covector.rest)
        iterated = [i for i, solver in enumerate(solvers) if solver not in SIDES]
        factored = [i for i, solver in enumerate(solvers) if solver in SIDES]
        solutions, after = [], 0.0
        if factored:
            solutions.append(self._factorised(factored, solvers, covector.residual, parts, wanted))
            after = token(solutions[0].value[-1][0])
        if iterated:
            solutions.append(self._iterated(iterated, wanted, tolerance, after))
        order = np.argsort([*factored, *iterated])
        value = [part for solution in solutions for part in solution.value]
        return Solution(
            self.blocks.join(tuple(value[i] for i in order), self.like),
            jnp.concatenate([solution.residual for solution in solutions])[order],
            jnp.all(jnp.stack([solution.converged for solution in solutions])),
            jnp.concatenate([solution.iterations for solution in solutions])[order],
        )

    def factorise(self) -> Callable[[PyTree], PyTree]:
        """`covector -> M^-1 covector` with the factorisations done once, on the smaller side of each block."""
        smaller = [smaller_side(operator.rows, operator.diagonal) for operator in self.operators]
        sides = self._sides(range(len(smaller)), smaller)
        return lambda covector: self.blocks.join(solve_in_turn(sides, self.blocks.split(covector)), self.like)

    def as_matrix(self) -> Float[Array, "P P"]:
        places = self.blocks.places(self.like)
        n = sum(map(len, places))
        matrices = [operator.as_matrix() for operator in self.operators]
        dense = jnp.zeros((n, n), matrices[0].dtype)
        for place, matrix in zip(places, matrices, strict=True):
            dense = dense.at[place[:, None], place[None, :]].set(matrix)
        return dense

    def _sides(self, indices: Iterable[int], solvers: Sequence[str]) -> list[AbstractSide]:
        """The factorisations of blocks, one after the other."""
        sides, after = [], 0.0
        for i in indices:
            sides.append(SIDES[solvers[i]].of(self.factors[i], self.mass[i], after))
            after = token(sides[-1].lower)
        return sides

    def _factorised(self, indices, solvers, residual, parts: Parts, wanted: Parts) -> Solution:
        sides = self._sides(indices, solvers)
        wanted, parts = (tuple(tree[i] for i in indices) for tree in (wanted, parts))
        value = solve_in_turn(sides, parts, residual)
        missing = relative_residual(self._apply(indices)(value), wanted)
        # Near a minimum the parts of a gradient cancel, and what is left of it is as exact as they are.
        cancelled = jnp.stack(
            [jnp.sqrt(dot(rest, rest) / dot(whole, whole)) for rest, whole in zip(parts, wanted, strict=True)]
        )
        useful = missing <= _USELESS * jnp.where(cancelled > 1, cancelled, 1)
        return Solution(value, missing, jnp.all(useful), jnp.zeros(len(indices), int))

    def _iterated(self, indices, wanted: Parts, tolerance: Any, after: Token) -> Solution:
        factors, mass = [self.factors[i] for i in indices], tuple(self.mass[i] for i in indices)
        approximate = preconditioner(factors, mass, after)
        return conjugate_gradients(self._apply(indices), tuple(wanted[i] for i in indices), tolerance, approximate)

    def _apply(self, indices) -> Callable[[Parts], Parts]:
        return lambda parts: tuple(self.operators[i].mv(part) for i, part in zip(indices, parts, strict=True))

    def transpose(self) -> "LayeredOperator":
        return self

    def in_structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return jax.eval_shape(lambda: floats(self.like))

    def out_structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return self.in_structure()


symmetric_positive(LayeredOperator)
