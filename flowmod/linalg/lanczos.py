"""The leading eigenpair of a symmetric pencil, from products alone: Lanczos in the inner product of `M`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Product = Callable[[Float[Array, " n"]], Float[Array, " n"]]


class LeadingEigenpair(NamedTuple):
    """The algebraically largest eigenvalue of `M^-1 S`, and how well it is known.

    Attributes:
        value: the eigenvalue. Exact eigenvalues lie above it, never below: it is the largest one seen.
        vector: its eigenvector `q` with `q^T M q = 1`.
        residual: `|M^-1 S q - value q|_M`, worked out at the end. Some eigenvalue lies within it; only if `value` is
            closer to the largest one than to the next is it an error bound, `residual^2 / gap`.
        scale: the largest modulus of a Ritz value, an estimate of `|M^-1 S|` to hold the residual against.
        steps: how many products were taken.
        converged: whether the residual is as small as the precision allows one to ask for.
    """

    value: Float[Array, ""]
    vector: Any
    residual: Float[Array, ""]
    scale: Float[Array, ""]
    steps: Int[Array, ""]
    converged: Bool[Array, ""]

    def require_converged(self, cure: str) -> None:
        """Raise a `RuntimeError` if concrete numbers were found but are not good enough; NaN passes."""
        if bool(self.converged) or not np.isfinite(self.residual):
            return
        raise RuntimeError(
            f"Lanczos did not converge in {int(self.steps)} products: the residual is {float(self.residual):.2g}, "
            f"{float(self.residual / self.scale):.2g} of the largest modulus {float(self.scale):.3g}. {cure}"
        )


class _Krylov(NamedTuple):
    basis: Float[Array, "size n"]
    diagonal: Float[Array, " size"]
    coupling: Float[Array, " size"]  # entry k couples vector k and k + 1
    steps: Int[Array, ""]
    scale: Float[Array, ""]
    estimate: Float[Array, ""]  # of the residual, relative to the scale


def leading_eigenpair(
    product: Product,
    mass: Product,
    solve: Product,
    start: Float[Array, " n"],
    *,
    precision: Any = None,
    most: int = 300,
) -> LeadingEigenpair:
    """The algebraically largest eigenvalue of `M^-1 S`, with `S` symmetric and indefinite, `M` positive definite.

    Each step takes one product with `S`, one with `M` and one solve with it, in flat vectors; all vectors are kept
    and orthogonalised twice. It stops when the residual is 1e-10 (1e-5 in float32) of the scale. A power iteration
    would find the largest modulus instead, which for the `S` of a contracting flow is the other end.

    Finitely many steps approach the largest eigenvalue *from below*, and one whose eigenvector the start has no
    component of is not seen at all: start from `random_start`. A value is an estimate, not a certificate.

    Args:
        product: `S d`.
        mass: `M d`.
        solve: `M^-1 g`, as accurate as the eigenvalue should be.
        start: where to start, any length but zero.
        precision: the dtype that the products are good to, if it is not the start's.
        most: the largest number of steps.

    Returns:
        A `LeadingEigenpair` with its vector flat. NaN in, NaN out.

    Reference: B. N. Parlett, "The Symmetric Eigenvalue Problem" (1980), ch. 13 and 15.
    """
    # The error of an eigenvalue goes with the residual's square: what is accepted is good to more than the tolerance.
    tolerance, accepted = _tolerances(start.dtype if precision is None else precision)
    size = min(most, start.size)
    start = start / jnp.sqrt(start @ mass(start))
    zero = jnp.zeros((), start.dtype)
    krylov = _Krylov(
        basis=jnp.zeros((size, start.size), start.dtype).at[0].set(start),
        diagonal=jnp.zeros(size, start.dtype),
        coupling=jnp.zeros(size, start.dtype),
        steps=jnp.zeros((), jnp.int32),
        scale=zero,
        estimate=zero + jnp.inf,
    )

    def unfinished(krylov):
        return (krylov.estimate > tolerance) & (krylov.steps < size)

    def grow(krylov):
        # The eigenvalues of the small matrix cost as much as some products, so they are looked at now and then.
        until = jnp.minimum(size, krylov.steps + 6 + krylov.steps // 6)

        def growing(krylov):
            return (krylov.steps < until) & (krylov.estimate > tolerance)

        krylov = jax.lax.while_loop(growing, lambda krylov: _step(product, mass, solve, krylov), krylov)
        return _judged(krylov)[0]

    krylov = jax.lax.while_loop(unfinished, grow, krylov)
    krylov, combination = _judged(krylov)
    vector = combination @ krylov.basis
    return _measured(product, mass, solve, vector, krylov, accepted)


def random_start(n: int, dtype: Any) -> Float[Array, " n"]:
    """A fixed dense vector without structure: one of ones, say, is orthogonal to half of a symmetric problem."""
    return jax.random.normal(jax.random.key(0), (n,), dtype)


def _tolerances(dtype) -> tuple[float, float]:
    return (1e-10, 1e-5) if jnp.finfo(dtype).bits >= 64 else (1e-5, 1e-3)


def _step(product: Product, mass: Product, solve: Product, krylov: _Krylov) -> _Krylov:
    """One more basis vector. Its coupling bounds the residual of every Ritz pair, so it is the estimate in between."""
    k = krylov.steps
    covector = product(krylov.basis[k])
    # <q, M^-1 s>_M = q^T s: the first orthogonalisation needs no product with M, the second one shares the norm's.
    components = krylov.basis @ covector
    vector = solve(covector) - components @ krylov.basis
    momentum = mass(vector)
    correction = krylov.basis @ momentum
    length = jnp.sqrt(jnp.maximum(vector @ momentum - correction @ correction, 0))
    vector = vector - correction @ krylov.basis
    scale = jnp.maximum(krylov.scale, jnp.maximum(jnp.abs(components[k]), length))
    return _Krylov(
        basis=krylov.basis.at[k + 1].set(vector / jnp.where(length == 0, 1, length), mode="drop"),
        diagonal=krylov.diagonal.at[k].set(components[k]),
        coupling=krylov.coupling.at[k].set(length),
        steps=k + 1,
        scale=scale,
        estimate=length / jnp.where(scale == 0, 1, scale),
    )


def _judged(krylov: _Krylov) -> tuple[_Krylov, Float[Array, " size"]]:
    """The scale and the leading Ritz vector's residual, and its combination of the basis vectors."""
    size, last = krylov.diagonal.size, krylov.steps - 1
    used = jnp.arange(size, dtype=jnp.int32) < krylov.steps
    coupling = jnp.where(jnp.arange(size, dtype=jnp.int32) < last, krylov.coupling, 0)
    bound = jnp.max(jnp.abs(jnp.where(used, krylov.diagonal, 0))) + 2 * jnp.max(jnp.abs(coupling))
    # What is not used yet stands decoupled below all eigenvalues, of their size so that it costs no digits.
    diagonal = jnp.where(used, krylov.diagonal, -2 * jnp.where(bound == 0, 1, bound))
    small = jnp.diag(diagonal) + jnp.diag(coupling[:-1], 1) + jnp.diag(coupling[:-1], -1)
    values, combinations = jnp.linalg.eigh(small, symmetrize_input=False)
    scale = jnp.maximum(jnp.abs(values[-1]), jnp.abs(values[size - krylov.steps]))
    residual = krylov.coupling[last] * jnp.abs(combinations[last, -1])
    estimate = residual / jnp.where(scale == 0, 1, scale)
    return krylov._replace(scale=scale, estimate=estimate), combinations[:, -1]


def _measured(product, mass, solve, vector, krylov, accepted) -> LeadingEigenpair:
    """Value and residual from the vector itself: what the recursion says of them holds only in exact arithmetic."""
    vector = vector / jnp.sqrt(vector @ mass(vector))
    covector = product(vector)
    value = vector @ covector
    remainder = solve(covector) - value * vector
    residual = jnp.sqrt(jnp.maximum(remainder @ mass(remainder), 0))
    return LeadingEigenpair(value, vector, residual, krylov.scale, krylov.steps, residual <= accepted * krylov.scale)
