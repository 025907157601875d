"""The step of all layers together as a linear-quadratic control problem: a sweep back, and one forward.

The step `(D + K^T K)^-1 K^T e` with `K = [K_1 ... K_L]` minimises a quadratic model of the loss along the linearised
layers. Its value function, swept back from the outputs, shrinks the rows at each layer; the sweep forward tells each
layer what those before it have already done. Without the shrink and the sweep forward it is the layerwise step.
"""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from .blocks import Part
from .in_turn import Token, cholesky, solve_lower, token
from .rows import AbstractRows, JoinedRows, RepeatedRows
from .sides import RowSide, divide


class RiccatiSide(RowSide):
    """The recursion `S_a = I + W_a K_a D_a^-1 K_a^T W_a^T = R_a R_a^T`, `W_{a-1} = R_a^-1 W_a`, from `W_L = I`.

    It solves the system of `RowSide` layer by layer, and `det(I + K D^-1 K^T)` is the product of the `det S_a`.

    Attributes:
        lower: `R_a`, (L, R, R), from the first layer to the last.
        shrinks: `W_a`, (L, R, R).
    """

    rows: JoinedRows
    shrinks: Float[Array, "L R R"]

    @classmethod
    def of(cls, rows: AbstractRows, mass: Part, after: Token = 0.0) -> "RiccatiSide":
        if not isinstance(rows, JoinedRows):
            raise ValueError('`solver="riccati"` needs the rows of all layers: use `fm.FullMetric`.')
        lowers, shrinks = [], []
        shrink = jnp.eye(rows.count)
        for factor, masses in reversed(_layers(rows, mass)):
            gram = factor.gram(masses)
            shrink = shrink.astype(gram.dtype)
            inner = jnp.eye(rows.count, dtype=gram.dtype) + shrink @ gram @ shrink.T
            lowers.append(cholesky(inner, after))
            shrinks.append(shrink)
            shrink = solve_triangular(lowers[-1], shrink, lower=True)
            after = token(shrink)
        return cls(rows, mass, jnp.stack(lowers[::-1]), jnp.stack(shrinks[::-1]))

    def solve(self, right: tuple[Part, Array], after: Token, refined: bool = False) -> tuple[Part, Array]:
        covector, residual = right
        base = divide(covector, self.mass)
        wanted = (residual - self.rows.mv(base) + after).ravel()
        shrunk = [shrink @ wanted for shrink in self.shrinks]
        done, forces = jnp.zeros_like(wanted), []
        layers = _layers(self.rows, self.mass)
        for (factor, masses), shrink, lower, left in zip(layers, self.shrinks, self.lower, shrunk, strict=True):
            forces.append((shrink.T @ solve_lower(lower, left - shrink @ done)).reshape(factor.row_shape))
            done = done + factor.mv(divide(factor.rmv(forces[-1]), masses)).ravel()
        value = jax.tree.map(jnp.add, base, divide(self._back(forces), self.mass))
        return value, self.rows.mv(value) - residual

    def _back(self, forces: list[Array]) -> Part:
        """`K_a^T force_a` for each layer."""
        back, start = [], 0
        for factor in self.rows.factors:
            depth = len(factor.places)
            own = forces[start : start + depth]
            back.extend(factor.rmv(jnp.stack(own) if isinstance(factor, RepeatedRows) else own[0]))
            start += depth
        return tuple(back)


def _layers(rows: JoinedRows, mass: Part) -> list[tuple[AbstractRows, Part]]:
    """The factor and the mass of each layer, those of repeated layers one by one."""
    layers = []
    for factor, masses in zip(rows.factors, rows.split(mass), strict=True):
        layers.extend(factor.apart(masses) if isinstance(factor, RepeatedRows) else [(factor, masses)])
    return layers
