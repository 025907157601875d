"""The abscissa of a Metzler matrix, by the classes of numbers that act on each other."""

import numpy as np
from jaxtyping import Float


def abscissa(matrix: Float[np.ndarray, "N N"]) -> float:
    """The largest real part of an eigenvalue, by the strongly connected classes of the matrix's graph.

    In one piece a hierarchy is nearly a Jordan block, and rounding moves its eigenvalues by any amount.
    """
    return max(float(np.linalg.eigvals(matrix[np.ix_(c, c)]).real.max()) for c in classes(matrix))


def classes(matrix: Float[np.ndarray, "N N"]) -> list[np.ndarray]:
    """The indices that reach each other, class by class: one class for an irreducible matrix."""
    n = len(matrix)
    reached = ((matrix != 0) | np.eye(n, dtype=bool)).astype(np.float32)
    for _ in range(max(n - 1, 1).bit_length()):
        reached = (reached @ reached > 0).astype(np.float32)
    mutual = (reached > 0) & (reached.T > 0)
    return [np.flatnonzero(mutual[i]) for i in range(n) if not mutual[i, :i].any()]
