"""Saddle points: one module descends in `x`, the other ascends in `y`."""

from typing import Any

import numpy as np

from ._matrices import blkdiag, metric_matrix, pencil_modes, real_matrix, rounding, symmetric_matrix
from ._parts import Rate, rates_of
from .composition import Composition
from .independent import uncoupled

_GOLDEN = (5**0.5 - 1) / 2
_EPS = float(np.finfo(np.float64).eps)


def primal_dual(l1: Rate, l2: Rate) -> Composition:
    """The rate of `M1 x' = -grad_x f`, `M2 y' = grad_y f`: `min(l1, l2)` for any coupling, in blkdiag(`M1`, `M2`).

    The mixed second derivatives of `f` enter as a skew feedback. A multiplier of an equality constraint has `l2 = 0`:
    then this metric gives the rate 0, and `fm.compose.equality_constrained` a positive one in another metric.

    Args:
        l1: the rate of the descent alone, `Hess_xx f >= l1 M1`, a number or a certificate.
        l2: the rate of the ascent alone, `-Hess_yy f >= l2 M2`.

    Returns:
        The `Composition`.

    Raises:
        ValueError: if a rate is not finite or not proved.
    """
    return uncoupled(rates_of(l1=l1, l2=l2))


def equality_constrained(hessian: Any, constraint: Any, metrics: tuple[Any, Any] | None = None) -> Composition:
    """The rate of `min f(x)` with `A x = b` by `M1 x' = -(grad f + A^T y)`, `M2 y' = A x - b`.

    In blkdiag(`M1`, `M2`) the multipliers `y` have the rate 0. In the metric `[[M1, al A^T], [al A, M2]]` the coupling
    makes them contract: there `S` has the blocks `-H + al A^T M2^-1 A` and `-al A M1^-1 A^T` on, and
    `-(al/2) A M1^-1 H` off the diagonal, linear in `H`, so that the rate at any mean of Hessians is at least the
    smallest at those. Where a rate is reached, the `al` that reach it are an interval: a line search finds the best.

    Args:
        hessian: `H`, (n, n), the second derivatives of a quadratic `f`, or several, (k, n, n), of which all that occur
            are means.
        constraint: `A`, (m, n), of independent rows.
        metrics: `M1`, (n, n), and `M2`, (m, m); Euclidean by default.

    Returns:
        The `Composition`, with the metric's matrix as `metric` and its condition relative to blkdiag(`M1`, `M2`), as of
        `Theta`. It is not `proved`: it comes from matrices, and it is safe from rounding.

    Raises:
        ValueError: if a matrix is not finite, not symmetric or not positive where it should be, or does not fit, or the
            rows of `A` are dependent.
    """
    a = _independent(real_matrix("constraint", constraint))
    m, n = a.shape
    stack = np.asarray(hessian, dtype=np.float64)
    many = stack.ndim == 3
    hessians = [
        symmetric_matrix(f"hessian[{i}]" if many else "hessian", h) for i, h in enumerate(stack if many else [stack])
    ]
    if not hessians:
        raise ValueError("`hessian` must hold at least one matrix, got none.")
    metrics = (np.eye(n), np.eye(m)) if metrics is None else metrics
    if len(metrics) != 2:
        raise ValueError(f"`metrics` must be the pair (M1, M2), got {len(metrics)} of them.")
    m1, m2 = metric_matrix("metrics[0]", metrics[0]), metric_matrix("metrics[1]", metrics[1])
    for name, matrix, size in (*(("hessian", h, n) for h in hessians), ("metrics[0]", m1, n), ("metrics[1]", m2, m)):
        if matrix.shape != (size, size):
            raise ValueError(f"`{name}` must be ({size}, {size}) for a `constraint` of {a.shape}, got {matrix.shape}.")
    largest = np.sqrt(pencil_modes(a @ np.linalg.solve(m1, a.T), m2)[0][-1])
    saddle = _Saddle(hessians, a, m1, m2)
    tilt = _best(lambda tilt: saddle.rate(tilt)[0], 1 / largest)
    rate, vector = saddle.rate(tilt)
    metric = saddle.metric(tilt)
    tilted = tilt * largest
    return Composition(
        rate=rate,
        weights=np.ones(2),
        condition=float(np.sqrt((1 + tilted) / (1 - tilted))),
        limiting=int(vector[n:] @ m2 @ vector[n:] > vector[:n] @ m1 @ vector[:n]),
        headroom=float("inf") if rate > 0 else 0.0,
        supremum=rate,
        metric=metric,
    )


def _independent(a: np.ndarray) -> np.ndarray:
    """The constraint, if no row follows from others: up to the rounding of its entries, whatever the rows' sizes."""
    sizes = np.abs(a).max(axis=1, keepdims=True)
    rank = int(np.linalg.matrix_rank(a / np.where(sizes > 0, sizes, 1.0), rtol=8 * max(a.shape) * _EPS))
    if rank < len(a):
        raise ValueError(
            f"`constraint` must have independent rows, but of its {len(a)} rows only {rank} are: leave out what "
            "follows from the other rows."
        )
    return a


class _Saddle:
    def __init__(self, hessians, a, m1, m2):
        self.a, self.m2, self.n = a, m2, a.shape[1]
        self.block = blkdiag([m1, m2])
        self.jacobians = []
        for hessian in hessians:
            top = -np.linalg.solve(m1, np.hstack([hessian, a.T]))
            self.jacobians.append(np.vstack([top, np.linalg.solve(m2, np.hstack([a, np.zeros((len(m2), len(m2)))]))]))

    def metric(self, tilt):
        metric = self.block.copy()
        metric[self.n :, : self.n] = tilt * self.a
        metric[: self.n, self.n :] = tilt * self.a.T
        return metric

    def rate(self, tilt):
        """The smallest rate of the Hessians in the metric, rounded down, and the direction that it belongs to."""
        metric = self.metric(tilt)
        found = []
        for jacobian in self.jacobians:
            product = metric @ jacobian
            values, vectors = pencil_modes((product + product.T) / 2, metric)
            found.append((float(-values[-1] - rounding(product, metric)), vectors[:, -1]))
        return min(found, key=lambda pair: pair[0])


def _best(fn, end: float) -> float:
    """Where a function without a second hill is largest on (0, end): a coarse grid, and golden sections."""
    grid = end * np.concatenate([np.geomspace(1e-6, 0.1, 16), np.linspace(0.15, 0.98, 16)])
    best = int(np.argmax([fn(x) for x in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    for _ in range(60):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (left, high) if fn(left) < fn(right) else (low, right)
    return max(grid[best], (low + high) / 2, key=fn)
