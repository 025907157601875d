"""The best diagonal weights of a Metzler matrix, by its Perron vectors."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from ..linalg import as_norm
from ._metzler import abscissa, classes

_CLOSE = 1e-3
"""How far above the abscissa the weights of a reducible matrix may be, relative to its largest entry."""

_SMALLEST = 1e-140
"""Of a weight, so that quotients of weights are floats."""


@dataclasses.dataclass(frozen=True)
class PerronWeights:
    """The diagonal weights in which a Metzler matrix has the smallest measure; `print` it.

    Attributes:
        abscissa: the largest real part of an eigenvalue, 1/time. No norm has a smaller measure.
        rate: minus the largest of the measures in the norms 1, 2 and infinity with these weights, 1/time.
        left: the positive left vector, (n,), largest entry one.
        right: the positive right vector, (n,), largest entry one.
        irreducible: whether every number of the state acts on every other one, be it through others. Then the
            abscissa is attained; of a reducible matrix it may only be approached, by weights that grow apart.
    """

    abscissa: float
    rate: float
    left: Float[np.ndarray, " n"]
    right: Float[np.ndarray, " n"]
    irreducible: bool

    def factor(self, norm: float = 2) -> Float[np.ndarray, " n"]:
        """The diagonal of `Theta`, so that `|Theta x|` is the best norm: for `log_norm` and `contraction_rate`.

        Args:
            norm: 1, 2 or `jnp.inf`.

        Returns:
            (n,): the left vector for 1, one over the right for infinity, `sqrt(left / right)` for 2.
        """
        p = as_norm(norm)
        if p == 2:
            return np.sqrt(self.left / self.right)
        return self.left if p == 1 else 1 / self.right

    @property
    def metric(self) -> Float[np.ndarray, " n"]:
        """The diagonal `left / right` of the best diagonal metric, (n,)."""
        return self.left / self.right

    @property
    def condition(self) -> float:
        """The largest entry of the metric over its smallest."""
        return float(self.metric.max() / self.metric.min())

    @property
    def attained(self) -> bool:
        """Whether the rate is minus the abscissa, but for rounding."""
        return bool(-self.rate - self.abscissa <= 1e-8 * max(1.0, abs(self.abscissa)))

    def __str__(self) -> str:
        how = "attained" if self.attained else f"approached: the abscissa is {self.abscissa:.6g}"
        kind = "irreducible" if self.irreducible else "reducible"
        return f"rate {self.rate:.6g} in the norms 1, 2 and infinity ({kind}, {how}), condition {self.condition:.3g}"


def perron_weights(matrix: Any) -> PerronWeights:
    """The diagonal weights in which the measures 1, 2 and infinity of a Metzler matrix are all smallest.

    A matrix without negative entries off its diagonal is a Metzler matrix: the Jacobian of a cooperative system, or the
    rates and gains of a network of modules. With its left and right Perron vectors as weights all three measures are
    the spectral abscissa, the least that any norm has. Only `a_ii` and `|a_ij|` enter the norms 1 and infinity, so for
    these the weights of the matrix with `|a_ij|` off the diagonal are the best ones of any matrix.

    Args:
        matrix: (n, n), in 1/time; `matrix[i, j]` is the effect of `j` on `i`.

    Returns:
        A `PerronWeights`. A reducible matrix (a pure hierarchy) gets positive weights within a thousandth of its
        largest entry of the abscissa.

    Raises:
        ValueError: if the matrix is not square, not finite, or not Metzler: with the entry.

    Reference: A. Berman and R. Plemmons, "Nonnegative Matrices in the Mathematical Sciences" (1994).
    """
    a = _as_metzler(matrix)
    n, scale = len(a), float(np.abs(a).max()) or 1.0
    top, irreducible = abscissa(a), len(classes(a)) == 1
    coupled, coupling = a, scale
    while not irreducible:
        # A weak coupling of all with all only raises the measures, and has a positive vector.
        coupled = a + coupling * np.ones((n, n))
        if coupling <= 1e-12 * scale or np.linalg.eigvals(coupled).real.max() - top <= _CLOSE * scale:
            break
        coupling /= 10
    left, right = _positive_vector(coupled.T), _positive_vector(coupled)
    rate = -max(_measures(a, left, right))
    return PerronWeights(top, rate, left, right, irreducible)


def _as_metzler(matrix: Any) -> Float[np.ndarray, "n n"]:
    a = np.asarray(matrix, dtype=np.float64)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or not a.size:
        raise ValueError(f"`matrix` must be square, (n, n), got shape {a.shape}.")
    if not np.isfinite(a).all():
        raise ValueError(f"`matrix` must be finite, got {a}.")
    off = a - np.diag(np.diag(a))
    if (off < 0).any():
        i, j = (int(k) for k in np.unravel_index(np.argmin(off), off.shape))
        raise ValueError(
            f"`matrix` must be Metzler, without negative entries off its diagonal, got {a[i, j]:.6g} at [{i}, {j}]. "
            'Fit `fm.fit_metric(..., structure="diagonal")` instead, or, for the norms 1 and infinity only, take the '
            "absolute values off the diagonal."
        )
    return a


def _positive_vector(a: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    """The right Perron vector, largest entry one, to high relative accuracy in every entry."""
    vector = np.ones(len(a))
    # An eigensolver knows all entries as well as the largest one: in coordinates where all are near one that is well.
    for _ in range(60):
        values, vectors = np.linalg.eig(a * vector[None] / vector[:, None])
        found = np.abs(vectors[:, np.argmax(values.real)].real)
        found = np.maximum(found / found.max(), np.finfo(float).eps)
        vector = np.maximum(vector * found / (vector * found).max(), _SMALLEST)
        if found.min() > 0.5:
            break
    return vector


def _measures(a, left, right):
    """The measures in the norms 1, 2 and infinity with the weights."""
    yield ((left @ a) / left).max()
    theta = np.sqrt(left / right)
    weighted = theta[:, None] * a / theta[None]
    yield np.linalg.eigvalsh((weighted + weighted.T) / 2).max()
    yield ((a @ right) / right).max()
