"""The semidefinite complementarity problem of the edge of stability: how strongly each direction oscillates.

Guide: the oscillation may only be where the stability margin is used up, and must be as strong as keeps it from
becoming negative.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

_SHRINK, _NEAR = 0.1, 10.0
"""The smoothing falls by the first, each time that what is left of the equation is below so many times it."""

_LEAST = 1e-8
"""Of the largest diagonal entry of `B`: smaller ones are scaled as if they were this large."""

_RIDGE = 100.0
"""Roundings that are added to `B` in Newton's system: it may be singular where the oscillation is."""

_MOST = 100
_HALVINGS = 20


class Complementary(NamedTuple):
    """A solution of the problem, and how well it is known.

    Attributes:
        value: `X`, (k, k), symmetric and positive semidefinite.
        slack: `S = A + B[X]`, (k, k).
        residual: `|X' - P(X' - S')|` for the problem scaled so that `A` and `B` are of size one, `P` the nearest
            positive semidefinite matrix: zero at a solution.
        iterations: of Newton's method.
    """

    value: Float[Array, "k k"]
    slack: Float[Array, "k k"]
    residual: Float[Array, ""]
    iterations: Int[Array, ""]


class _Iterate(NamedTuple):
    z: Float[Array, " p"]
    smoothing: Float[Array, ""]
    residual: Float[Array, ""]
    iterations: Int[Array, ""]


def complementary(linear: Float[Array, "k k"], gram: Float[Array, "p p"]) -> Complementary:
    """`X >= 0` with `S = A + B[X] >= 0` and `<X, S> = 0`: the minimum of `<A, X> + <X, B[X]> / 2` over the cone.

    Symmetric matrices are vectors of their upper triangles with the entries off the diagonal times `sqrt(2)`, so that
    products of vectors are those of matrices and count both triangles. `X = (Z + (Z^2 + 4 e^2)^(1/2)) / 2` and
    `S = X - Z` have `X S = e^2` for every symmetric `Z`: Newton's method finds the `Z` at which `S` is `A + B[X]`,
    while the smoothing `e` falls to rounding. One eigendecomposition and one linear solve an iteration. A singular `B`,
    of directions that share nothing, has many solutions, with one slack and one push `B[X]`: any of them is found.

    Args:
        linear: `A`, symmetric.
        gram: `B`, symmetric and positive semidefinite, p = k (k + 1) / 2, in the scaled upper triangles.

    Returns:
        A `Complementary`. NaN in, NaN out.

    Reference: C. Kanzow and C. Nagel, "Semidefinite programs: new search directions, smoothing-type methods, and
    numerical results" (2002); X. Chen and P. Tseng, "Non-interior continuation methods for solving semidefinite
    complementarity problems" (2003).
    """
    k = len(linear)
    units, curvature = _units(gram, k)
    rescaled = linear * units[:, None] * units[None, :]
    size = jnp.max(jnp.abs(rescaled))
    size = jnp.where(size > 0, size, 1)
    scales = upper(units[:, None] * units[None, :])
    a, b = triangle(rescaled) / size, gram * scales[:, None] * scales[None, :] / curvature
    eps = jnp.finfo(a.dtype).eps
    regular = b + _RIDGE * eps * jnp.eye(len(a), dtype=a.dtype)

    def unsolved(iterate: _Iterate):
        finished = (iterate.smoothing <= eps) & (iterate.residual <= 10 * eps)
        return ~finished & (iterate.iterations < _MOST) & jnp.isfinite(iterate.residual)

    def improve(iterate: _Iterate) -> _Iterate:
        smoothing = iterate.smoothing
        x, divided, basis = _smoothed(matrix(iterate.z, k), smoothing)
        rest = a + b @ triangle(x) - triangle(x) + iterate.z
        # In the eigenbasis of Z the derivative of X is a product entry by entry, between 0 and 1.
        turn = _congruence(basis)
        slopes = upper(divided)
        system = turn.T @ regular @ turn * slopes[None, :] + jnp.diag(1 - slopes)
        step = turn @ jnp.linalg.solve(system, -turn.T @ rest)
        length, left = _search(lambda z: _rest(a, b, z, smoothing, k), iterate.z, step, jnp.linalg.norm(rest))
        ahead = jnp.where(left <= _NEAR * smoothing, jnp.maximum(_SHRINK * smoothing, eps), smoothing)
        # At the smallest smoothing Newton's method is done where rounding stops it.
        done = (smoothing <= eps) & (left >= 0.5 * iterate.residual)
        return _Iterate(iterate.z + length * step, ahead, jnp.where(done, 0, left), iterate.iterations + 1)

    start = _Iterate(-a, jnp.ones((), a.dtype), jnp.linalg.norm(a) + 1, jnp.zeros((), jnp.int32))
    found = jax.lax.while_loop(unsolved, improve, start)
    x = _smoothed(matrix(found.z, k), jnp.zeros((), a.dtype))[0]
    slack = matrix(a + b @ triangle(x), k)
    residual = jnp.linalg.norm(x - _smoothed(x - slack, jnp.zeros((), a.dtype))[0])
    outer = units[:, None] * units[None, :]
    return Complementary(x * outer * size / curvature, slack * size / outer, residual, found.iterations)


def pairs(k: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows and columns of the upper triangle, in the order of the vectors."""
    return np.triu_indices(k)


def weights(k: int) -> np.ndarray:
    """1 on the diagonal and `sqrt(2)` off it: what the vector's entries are multiplied with."""
    rows, columns = pairs(k)
    return np.where(rows == columns, 1.0, np.sqrt(2.0))


def upper(symmetric: Float[Array, "k k"]) -> Float[Array, " p"]:
    """The entries of the upper triangle as they are."""
    return symmetric[pairs(len(symmetric))]


def triangle(symmetric: Float[Array, "k k"]) -> Float[Array, " p"]:
    """A symmetric matrix as a vector with the same inner products."""
    return upper(symmetric) * weights(len(symmetric)).astype(symmetric.dtype)


def matrix(vector: Float[Array, " p"], k: int) -> Float[Array, "k k"]:
    """The inverse of `triangle`."""
    rows, columns = pairs(k)
    entries = vector / weights(k).astype(vector.dtype)
    return jnp.zeros((k, k), vector.dtype).at[rows, columns].set(entries).at[columns, rows].set(entries)


def _units(gram: Float[Array, "p p"], k: int) -> tuple[Float[Array, " k"], Float[Array, ""]]:
    """A unit for each direction in which the diagonal of `B` is its largest entry: sizes may differ by decades."""
    rows, columns = pairs(k)
    squares = jnp.diag(gram)[rows == columns]
    largest = jnp.max(squares)
    largest = jnp.where(largest > 0, largest, 1)
    return (jnp.maximum(squares, _LEAST * largest) / largest) ** -0.25, largest


def _smoothed(z: Float[Array, "k k"], smoothing):
    """`X(Z)`, its divided differences, and the eigenbasis of `Z`."""
    values, basis = jnp.linalg.eigh(z, symmetrize_input=False)
    roots = jnp.sqrt(values**2 + 4 * smoothing**2)
    # Of the two ways to write x, the one that does not cancel.
    x = jnp.where(values > 0, (values + roots) / 2, 2 * smoothing**2 / jnp.where(roots > values, roots - values, 1))
    sums = roots[:, None] + roots[None, :]
    divided = (1 + (values[:, None] + values[None, :]) / jnp.where(sums > 0, sums, 1)) / 2
    return (basis * x[None, :]) @ basis.T, divided, basis


def _rest(a, b, z, smoothing, k):
    x = triangle(_smoothed(matrix(z, k), smoothing)[0])
    return jnp.linalg.norm(a + b @ x - x + z)


def _congruence(basis: Float[Array, "k k"]) -> Float[Array, "p p"]:
    """`D -> Q D Q^T` on vectors, an orthogonal matrix."""
    k = len(basis)
    units = jax.vmap(lambda unit: matrix(unit, k))(jnp.eye(k * (k + 1) // 2, dtype=basis.dtype))
    return jax.vmap(lambda unit: triangle(basis @ unit @ basis.T), out_axes=1)(units)


def _search(rest, z, step, before):
    """The first of the lengths 1, 1/2, 1/4, ... that shortens the rest, and what is left of it."""

    def too_long(state):
        length, left, count = state
        return (left > (1 - 1e-4 * length) * before) & (count < _HALVINGS)

    def halve(state):
        length, _, count = state
        return length / 2, rest(z + length / 2 * step), count + 1

    one = jnp.ones((), z.dtype)
    length, left, _ = jax.lax.while_loop(too_long, halve, (one, rest(z + step), 0))
    return length, left
