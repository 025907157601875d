"""The matrices whose largest eigenvalue is a growth rate, as functions of flat numbers for intervals to evaluate.

In real arithmetic they are what `contraction_rate` evaluates in floats. They are written so that intervals lose
little: a gradient flow in its own metric needs no derivative of a solve, and small systems are solved by elimination
written out, without the guards that turn a bad matrix into NaN (a division by what may be zero is undefined anyway).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._tree import combine, ravel, size, unraveler
from ..._typing import Args, State
from ...flow import AbstractFlow, GradientFlow
from ...metric import AbstractMetric, Euclidean, PullbackMetric
from ..jacobian import Factor, default_metric, diagonal_factor, unless_own

Flat = Callable[[Float[Array, " n"], Float[Array, ""]], Any]


class Question(NamedTuple):
    """What is asked of a flow, in which measure.

    Attributes:
        flow: the flow.
        like: a state, for its tree and what in it does not move.
        args: handed to the flow and to the metric.
        metric: the metric, or `None` for the flow's own.
        factor: `Theta` of the metric `Theta^T Theta`, or `None`.
        norm: 1, 2 or infinity.
    """

    flow: AbstractFlow
    like: State
    args: Args
    metric: AbstractMetric | None
    factor: Factor
    norm: float

    @property
    def size(self) -> int:
        return size(self.like)

    def state(self, x: Float[Array, " n"]) -> State:
        """The state of flat numbers."""
        return combine(unraveler(self.like)(x), self.like)

    def velocity(self, x: Float[Array, " n"], t: Float[Array, ""]) -> Float[Array, " n"]:
        """The vector field, flat."""
        return ravel(self.flow.vector_field(t, self.state(x), self.args))

    def potential(self, x: Float[Array, " n"]) -> Float[Array, ""]:
        """The potential of a gradient flow."""
        return jnp.asarray(self.flow.potential(self.state(x), self.args))  # pyright: ignore[reportOptionalCall]

    def given_matrix(self, x: Float[Array, " n"], t: Float[Array, ""]) -> Float[Array, "n n"]:
        """`M` as the metric gives it."""
        if self.factor is not None:
            theta = self.theta(x, t)
            return theta.T @ theta
        return self.measure.at(t)(self.state(x), self.args).as_matrix().astype(x.dtype)

    def metric_matrix(self, x: Float[Array, " n"], t: Float[Array, ""]) -> Float[Array, "n n"]:
        """`(M + M^T) / 2`."""
        matrix = self.given_matrix(x, t)
        return (matrix + matrix.T) / 2

    @property
    def measure(self) -> AbstractMetric:
        """The metric that is meant, where there is no factor."""
        return default_metric(self.flow, self.like, self.metric)

    def theta(self, x: Float[Array, " n"], t: Float[Array, ""]) -> Float[Array, "n n"]:
        """The factor, as a matrix."""
        factor = self.factor
        if factor is None:
            factor = diagonal_factor(self.flow, self.like, self.metric)
        value = factor(t, self.state(x), self.args) if callable(factor) else factor
        theta, n = jnp.asarray(value).astype(x.dtype), self.size
        if theta.shape not in ((n,), (n, n)):
            raise ValueError(f"`factor` must be an ({n}, {n}) matrix or ({n},) weights, got shape {theta.shape}.")
        return jnp.diag(theta) if theta.ndim == 1 else theta

    @property
    def descends(self) -> bool:
        """Whether the rate is the smallest eigenvalue of a Riemannian Hessian."""
        own = self.factor is None and unless_own(self.flow, self.metric) is None
        return own and isinstance(self.flow, GradientFlow)

    @property
    def immersed(self) -> bool:
        """Whether the flow's own metric is that of coordinates measured by their Euclidean lengths, and of a mass."""
        own = self.flow.metric
        return isinstance(own, PullbackMetric) and isinstance(own.output, Euclidean)

    def coordinates(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """The coordinates of a pullback metric, flat."""
        return ravel(self.flow.metric.fn(self.state(x), self.args))  # pyright: ignore


def growth_of(question: Question) -> Flat:
    """The upper triangles of `S` and `M` of the pencil for the norm 2, the generalised Jacobian for 1 and infinity."""
    if question.norm != 2:
        return lambda x, t: _generalised_jacobian(question, x, t).reshape(-1)
    pencil = _pencil
    if question.descends:
        pencil = _immersion_pencil if question.immersed else _descent_pencil
    rows, columns = np.triu_indices(question.size)

    def triangles(x, t):
        s, m = pencil(question, x, t)
        return jnp.concatenate([matrix[rows, columns] for matrix in (s, m)])

    return triangles


def regular_of(question: Question) -> Flat:
    """What must not jump, since no derivative would see it: the field and the metric (or its factor)."""

    def parts(x, t):
        measured = question.theta if question.norm != 2 or question.factor is not None else question.metric_matrix
        field = jax.grad(question.potential)(x) if question.descends else question.velocity(x, t)
        return jnp.concatenate([field, measured(x, t).reshape(-1)])

    return parts


def _along_flow(question: Question, fn: Flat, x, t):
    """`fn`, and its total derivative along the flow."""
    return jax.jvp(fn, (x, t), (question.velocity(x, t), jnp.ones_like(t)))


def _pencil(question: Question, x, t):
    m, rate = _along_flow(question, question.metric_matrix, x, t)
    product = m @ jax.jacfwd(question.velocity)(x, t)
    return (rate + product + product.T) / 2, m


def _descent_pencil(question: Question, x, t):
    """`S` where `M u = -grad f` with `u = y'`: minus the Riemannian Hessian, plus `dM/dt / 2`.

    `-S = H + (A + A^T - DM[u] - dM/dt) / 2` with the Hessian `H` and `A_ij = sum_k d_j M_ik u_k`.
    """
    m = question.metric_matrix(x, t)
    slopes, drift = jax.jacfwd(question.metric_matrix, argnums=(0, 1))(x, t)  # slopes_ikj = d_j M_ik
    velocity = _solved(m, -jax.grad(question.potential)(x)[:, None])[:, 0]
    turned = jnp.sum(slopes * velocity[None, :, None], axis=1)
    along = jnp.sum(slopes * velocity[None, None], axis=2)
    return (along + drift - turned - turned.T) / 2 - jax.hessian(question.potential)(x), m


def _immersion_pencil(question: Question, x, t):
    """The same for `M = K^T K + D` with `K = dr/dx`: the Riemannian Hessian is `H - sum_k l_k d2 r_k`, `l = K M^-1 df`.

    The metric's derivatives, large numbers that cancel in the other formula, don't occur.
    """
    m, slopes = question.metric_matrix(x, t), jax.jacfwd(question.coordinates)(x)
    covector = jax.grad(question.potential)(x)
    if slopes.shape == m.shape and not np.any(jax.tree.leaves(question.flow.metric.mass)):  # pyright: ignore
        order = _pivots(question, lambda x: jax.jacfwd(question.coordinates)(x).T)
        normal = _solved(slopes.T[order], covector[order][:, None])[:, 0]
    else:
        normal = slopes @ _solved(m, covector[:, None])[:, 0]
    curved = jax.hessian(lambda x: jnp.sum(normal * question.coordinates(x)))(x)
    return curved - jax.hessian(question.potential)(x), m


def _generalised_jacobian(question: Question, x, t):
    """`F = (Theta' + Theta J) Theta^-1`."""
    theta, rate = _along_flow(question, question.theta, x, t)
    jacobian = jax.jacfwd(question.velocity)(x, t)
    diagonal = np.diag_indices(question.size)
    if question.factor is None or np.ndim(question.factor) == 1:
        weights = theta[diagonal]
        return weights[:, None] * jacobian / weights[None] + jnp.diag(rate[diagonal] / weights)
    order = _pivots(question, lambda x: question.theta(x, jnp.zeros_like(t)).T)
    return _solved(theta.T[order], (rate + theta @ jacobian).T[order]).T


def _solved(matrix, right):
    """`matrix^-1 right` by elimination without exchanges."""
    n = len(matrix)
    rows = jnp.concatenate([matrix, right], axis=1)
    for k in range(n):
        ratios = jnp.where(np.arange(n) == k, 0.0, rows[:, k] / rows[k, k])
        rows = rows - ratios[:, None] * rows[k][None]
    return rows[:, n:] / rows[np.diag_indices(n)][:, None]


def _pivots(question: Question, fn: Callable) -> np.ndarray:
    """The order of rows in which elimination needs no exchanges at a corner of the box."""
    with jax.ensure_compile_time_eval():
        rows = np.array(fn(ravel(question.like)), dtype=float)
    order = np.arange(len(rows))
    for k in range(len(rows)):
        best = k + int(np.argmax(np.abs(rows[k:, k])))
        rows[[k, best]], order[[k, best]] = rows[[best, k]], order[[best, k]]
        if rows[k, k]:
            rows[k + 1 :] -= np.outer(rows[k + 1 :, k] / rows[k, k], rows[k])
    return order
