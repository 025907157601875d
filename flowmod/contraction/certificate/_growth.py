"""The matrices whose largest eigenvalue is a growth rate, as a program for intervals to evaluate.

In real arithmetic they are what `contraction_rate` evaluates in floats. Where JAX's derivative of a field or a metric
is not its derivative (`stop_gradient`, custom rules, the kinks of `max`), they are right and the floats are not: field
and metric are made programs as they are computed, and it is these programs that are differentiated. Only what is a
derivative by definition is JAX's, the covector of a gradient flow and the Jacobian of a pullback metric: then it is
the flow or the metric itself. The formulas are written so that intervals lose little: a gradient flow in its own metric
needs no derivative of a solve, and small systems are solved by elimination written out, without the guards that turn a
bad matrix into NaN (a division by what may be zero is undefined anyway).

The program's outputs, in this order: the entries (of the upper triangles of `S` and of `M`, row by row, for the norm 2,
of `F` for 1 and infinity), what must be defined (n numbers of the field, or of the covector that the flow descends, and
n x n of the metric or its factor), and the conditions that must not change on a box, or one of these may jump.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._tree import ravel
from ._derivative import jacobian_of, with_slopes
from ._inputs import composed, jump_conditions, same, with_outputs
from ._jaxpr import program_of
from ._program import Program
from ._question import Question


class _Part(NamedTuple):
    """A part of a flow at a point.

    Attributes:
        value: an array.
        slopes: its derivatives by the state and the time, along one more axis.
    """

    value: Array
    slopes: Array

    def along(self, velocity: Float[Array, " n"]) -> Array:
        """The total derivative along the flow."""
        return self.slopes @ jnp.append(velocity, 1.0)


def flat_program(fn: Callable, n: int) -> Program:
    """A function of the flat state and the time as a program, in which the time is the last input."""
    return program_of(lambda z: fn(z[:n], z[n]), n + 1)


def growth_program(question: Question) -> Program:
    """The matrices, what must be defined, and the conditions that must not change, of the flat state and the time."""
    n = question.size
    parts, entries = _formula(question)
    shapes = [part.shape for part in jax.eval_shape(parts, jnp.zeros(n), jnp.asarray(0.0))]
    counts = [int(np.prod(shape)) for shape in shapes]
    inner = with_slopes(flat_program(lambda x, t: jnp.concatenate([part.reshape(-1) for part in parts(x, t)]), n))

    def outer(z):
        values, slopes = jnp.split(z, [sum(counts)])
        ends = np.cumsum(counts)[:-1]
        rows = jnp.split(values, ends), jnp.split(slopes.reshape(-1, n + 1), ends)
        made = [_Part(v.reshape(s), d.reshape(*s, n + 1)) for s, v, d in zip(shapes, *rows, strict=True)]
        return jnp.concatenate([entries(question, *made), values[: n + n * n]])

    program = composed(program_of(outer, len(inner.outputs)), inner)
    count = len(program.outputs) - n - n * n
    return with_outputs(program, program.outputs + jump_conditions(program, range(count, len(program.outputs))))


def _formula(question: Question) -> tuple[Callable, Callable]:
    """The parts that are computed and the formula of the entries. The first parts are those that must be defined."""
    if question.norm != 2:
        return lambda x, t: (question.velocity(x, t), question.theta(x, t)), _generalised_jacobian
    if not question.descends:
        measured = question.metric_matrix if question.factor is None else question.theta
        return lambda x, t: (question.velocity(x, t), measured(x, t)), _pencil
    if question.pulled_back and _integrates(question):
        return (
            lambda x, t: (question.covector(x), question.metric_matrix(x, t), question.immersion(x)),
            _immersion_pencil,
        )
    return lambda x, t: (question.covector(x), question.metric_matrix(x, t)), _descent_pencil


def _integrates(question: Question) -> bool:
    """Whether the `K` of a pullback metric is seen to be the derivative of its coordinates."""
    # Zero times the coordinates, because the derivative of a program is defined where the program is.
    jacobian = program_of(lambda x: question.immersion(x) + 0 * question.coordinates(x)[:, None], question.size)
    return same(jacobian, jacobian_of(program_of(question.coordinates, question.size)))


def _triangles(s: Float[Array, "n n"], m: Float[Array, "n n"]) -> Array:
    rows, columns = np.triu_indices(len(s))
    return jnp.concatenate([s[rows, columns], m[rows, columns]])


def _pencil(question: Question, field: _Part, measured: _Part):
    m, rate = measured.value, measured.along(field.value)
    if question.factor is not None:
        half = rate.T @ m
        m, rate = m.T @ m, half + half.T
    product = m @ field.slopes[:, : question.size]
    return _triangles((rate + product + product.T) / 2, m)


def _descent_pencil(question: Question, covector: _Part, metric: _Part):
    """`S` where `M u = -g` with `u = y'`: minus the Riemannian Hessian, plus `dM/dt / 2`.

    `-S = (G + G^T + A + A^T - DM[u] - dM/dt) / 2` with the derivative `G` of `g` and `A_ij = sum_k d_j M_ik u_k`.
    """
    m, n = metric.value, question.size
    slopes, drift = metric.slopes[..., :n], metric.slopes[..., n]  # slopes_ikj = d_j M_ik
    velocity = _solved(m, -covector.value[:, None])[:, 0]
    turned = jnp.sum(slopes * velocity[None, :, None], axis=1)
    along = jnp.sum(slopes * velocity[None, None], axis=2)
    return _triangles((along + drift - turned - turned.T) / 2 - _hessian(question, covector), m)


def _immersion_pencil(question: Question, covector: _Part, metric: _Part, immersion: _Part):
    """The same for `M = K^T K + D` with `K = dr/dx`: the Riemannian Hessian is `H - sum_k l_k d2 r_k`, `l = K M^-1 g`.

    The metric's derivatives, large numbers that cancel in the other formula, don't occur.
    """
    m, k = metric.value, immersion.value
    if k.shape == m.shape and not np.any(jax.tree.leaves(question.flow.metric.mass)):  # pyright: ignore
        order = _pivots(question, lambda x: question.immersion(x).T)
        normal = _solved(k.T[order], covector.value[order][:, None])[:, 0]
    else:
        normal = k @ _solved(m, covector.value[:, None])[:, 0]
    curved = jnp.sum(normal[:, None, None] * immersion.slopes[..., : question.size], axis=0)
    return _triangles(curved - _hessian(question, covector), m)


def _hessian(question: Question, covector: _Part) -> Float[Array, "n n"]:
    """Symmetric for any covector: where it is no gradient the rate is that of the field all the same."""
    slopes = covector.slopes[:, : question.size]
    return (slopes + slopes.T) / 2


def _generalised_jacobian(question: Question, field: _Part, factor: _Part):
    """`F = (Theta' + Theta J) Theta^-1`."""
    theta, rate = factor.value, factor.along(field.value)
    jacobian = field.slopes[:, : question.size]
    if question.factor is None or np.ndim(question.factor) == 1:
        diagonal = np.diag_indices(question.size)
        weights = theta[diagonal]
        return (weights[:, None] * jacobian / weights[None] + jnp.diag(rate[diagonal] / weights)).reshape(-1)
    order = _pivots(question, lambda x: question.theta(x, jnp.asarray(0.0)).T)
    return _solved(theta.T[order], (rate + theta @ jacobian).T[order]).T.reshape(-1)


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
