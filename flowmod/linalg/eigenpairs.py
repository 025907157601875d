"""Eigenpairs of a symmetric pencil as an iteration finds them: values with what is known of them."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Eigenpairs(NamedTuple):
    """Some eigenvalues of `M^-1 S` at both ends of its spectrum, and how well they are known.

    Attributes:
        values: the largest ones, falling, and then the smallest ones, rising, (k,). Estimates from inside of the
            spectrum: a largest one is never above the true one of its rank, a smallest one never below.
        vectors: their eigenvectors `q` with `q^T M q = 1`, (k, n).
        residuals: `|M^-1 S q - value q|_M`, worked out from the vectors at the end, (k,). Some eigenvalue lies within
            it (Weinstein's bound). Which one it cannot say; if it is the nearest by a gap, the error is only
            `residual^2 / gap`.
        scale: the largest modulus of a Ritz value, an estimate of `|M^-1 S|` to hold the residuals against.
        products: how many products with `S` were taken, with those for the second start and for the residuals.
        converged: whether the residuals are as small as asked for, and a second start has found nothing beyond.
    """

    values: Float[Array, " k"]
    vectors: Float[Array, "k n"]
    residuals: Float[Array, " k"]
    scale: Float[Array, ""]
    products: Int[Array, ""]
    converged: Bool[Array, ""]

    @property
    def leading(self) -> "LeadingEigenpair":
        """The first of them."""
        return LeadingEigenpair(self.values[0], self.vectors[0], self.residuals[0], *self[3:])


class LeadingEigenpair(NamedTuple):
    """The algebraically largest eigenvalue of `M^-1 S`, and how well it is known.

    Attributes:
        value: the eigenvalue. Exact eigenvalues lie above it, never below: it is the largest one seen.
        vector: its eigenvector `q` with `q^T M q = 1`.
        residual: `|M^-1 S q - value q|_M`, worked out at the end. Some eigenvalue lies within it; only if `value` is
            closer to the largest one than to the next is it an error bound, `residual^2 / gap`.
        scale: the largest modulus of a Ritz value, an estimate of `|M^-1 S|` to hold the residual against.
        products: how many products with `S` were taken, with those for the second start and for the residual.
        converged: whether the residual is as small as the precision allows one to ask for, and a second start has
            found nothing beyond.
    """

    value: Float[Array, ""]
    vector: Any
    residual: Float[Array, ""]
    scale: Float[Array, ""]
    products: Int[Array, ""]
    converged: Bool[Array, ""]

    def require_converged(self, cure: str) -> None:
        """Raise a `RuntimeError` if concrete numbers were found but are not good enough; NaN passes."""
        if bool(self.converged) or not np.isfinite(self.residual):
            return
        raise RuntimeError(
            f"Lanczos did not converge in {int(self.products)} products: the residual is {float(self.residual):.2g}, "
            f"{float(self.residual / self.scale):.2g} of the largest modulus {float(self.scale):.3g}. {cure}"
        )
