"""How fast do trajectories approach each other? The rate at a state, or along a trajectory."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from .._tree import as_state, combine, floats, is_float_array, is_traced, size, traced_numbers
from .._typing import Args, State
from ..flow import AbstractFlow, require_flow
from ..linalg import as_norm, matrix_measure
from ..metric import AbstractMetric, require_metric
from ..simulate import Ensemble, Trajectory
from ._each_time import at_each_time
from ._extremes import Subject, Wanted, extremes_along
from .jacobian import Factor, default_metric, diagonal_factor, generalized_jacobian, linearise, unless_own
from .leading_mode import CURE, growth, leading_mode, mode_at

DENSE = 100
"""Numbers of the state up to which `method="auto"` forms the pencil.

Both ends of the spectrum took the same time at 102 numbers for networks in their layerwise metric, where Lanczos was
three times as fast at 334 (`make bench ARGS=spectra`).
"""


def contraction_rate(
    flow: AbstractFlow,
    y: State | Trajectory,
    t: Any = 0.0,
    args: Args = None,
    metric: AbstractMetric | None = None,
    norm: float = 2,
    factor: Factor = None,
    method: str = "auto",
) -> Float[Array, ""] | Float[np.ndarray, " times"]:
    """Minus the largest growth rate of distances between neighbouring trajectories, in a metric.

    The rate is `-max eig` of the symmetric pencil `(M' + M J + J^T M)/2, M`, with the metric's motion along the flow
    and in time. Where it is positive all neighbouring trajectories approach each other at least that fast. It is a
    rate at a state or *along a trajectory*, not a certificate: it says nothing about states that were not visited.
    For a gradient flow in its own metric it is the smallest eigenvalue of the Riemannian Hessian.

    Args:
        flow: the flow.
        y: a state, or a `Trajectory` of this flow.
        t: the time of a state; a trajectory brings its own.
        args: handed to the flow and to the metric.
        metric: the metric of the state space; the flow's own by default, else Euclidean (also for the pair of
            position and velocity of an `InertialFlow`).
        norm: 2, the norm `|Theta x|_2` that the metric `M = Theta^T Theta` defines, or 1 or `jnp.inf`, for the norms
            `|Theta x|_1` and `|Theta x|_inf`: there the rate is `-mu(F)`, the matrix measure of the generalized
            Jacobian with this very `Theta`. A rotation of `Theta` changes it, so that it takes a `factor`, or a
            diagonal metric, of which `Theta` is the square root. Always dense.
        factor: `Theta`, an (n, n) matrix, (n,) weights for a diagonal one, or `fn(t, y, args)` that returns one of
            them, for the metric `Theta^T Theta`.
        method: `"dense"`, by the eigenvalues of the formed pencil, for up to some hundreds of numbers; `"lanczos"`,
            from products alone, for large states (`contraction_spectrum` gives its residual; a rate from finitely
            many products is an upper estimate); `"auto"`, dense for small states and where a `factor` is given.

    Returns:
        The rate in 1/time: a scalar for a state, (T,) for a trajectory. NaN where the metric is none, and, along a
        trajectory or inside a JAX transformation, where Lanczos did not converge.

    Raises:
        ValueError: if both `metric` and `factor` are given, a factor has another shape, `norm` or `method` is
            another, the norm is 1 or infinity and the metric not diagonal, or `method="lanczos"` is asked for with a
            factor or one of these norms.
        RuntimeError: if Lanczos did not converge at a state: with its residual and its products.

    Reference: W. Lohmiller and J.-J. E. Slotine, "On contraction analysis for non-linear systems" (1998); P. Wensing
    and J.-J. E. Slotine, "Beyond convexity: contraction and global convergence of gradient descent" (2020).
    """
    require_flow(flow)
    if metric is not None and factor is not None:
        raise ValueError("Give `metric` or `factor`, not both: a factor is a metric already, `M = factor^T factor`.")
    norm = as_norm(norm)
    if method not in ("auto", "dense", "lanczos"):
        raise ValueError(f'`method` must be "auto", "dense" or "lanczos", got {method!r}.')
    if method == "lanczos" and factor is not None:
        raise ValueError('`method="lanczos"` takes a `metric`: with a `factor` a rate is dense, so leave `method` out.')
    if method == "lanczos" and norm != 2:
        raise ValueError(f'`method="lanczos"` takes `norm=2`, got {norm}: the other norms are dense.')
    if metric is not None:
        require_metric("metric", metric)
    if isinstance(y, Ensemble):
        raise ValueError("`y` must be a state or a Trajectory, got an Ensemble: take a member, `ensemble[0]`.")
    t, args = traced_numbers(t), traced_numbers(args)
    metric = unless_own(flow, metric)
    if isinstance(y, Trajectory):
        operands = _Operands(flow, args, metric, factor, eqx.filter(y.ys, is_float_array, inverse=True), method, norm)
        return _rates_along(y.ts, floats(y.ys), operands)
    y = as_state("y", y)
    operands = _Operands(flow, args, metric, factor, None, method, norm)
    if is_traced(t, y, operands):
        return _rate(t, y, operands)
    if _is_dense(y, operands):
        return _rate_at_state(t, y, operands)
    mode = leading_mode(flow, y, t, args, metric)
    mode.require_converged(CURE)
    return -mode.value


class _Operands(NamedTuple):
    flow: AbstractFlow
    args: Args
    metric: AbstractMetric | None
    factor: Factor
    rest: Any  # the leaves of the state that do not move along a trajectory
    method: str
    norm: float


def _is_dense(y: State, operands: _Operands) -> bool:
    if operands.method == "auto":
        return operands.factor is not None or operands.norm != 2 or size(y) <= DENSE
    return operands.method == "dense"


def _rates_along(ts, ys, operands):
    first = jax.tree.map(lambda leaf: leaf[:1].sum(0), ys)
    if _is_dense(first, operands):
        return at_each_time(_rate, _rate_at_state, ts, ys, operands)
    subject = Subject(operands.flow, operands.args, operands.metric, operands.rest)
    found = extremes_along(ts, ys, subject, Wanted())
    where = jnp.where if is_traced(found) else np.where
    return where(found.converged, -found.values[:, 0], np.nan)


def _rate(t, y, operands):
    flow, args, metric, factor, rest, _, norm = operands
    y = y if rest is None else combine(y, rest)
    if factor is None and norm != 2:
        factor = diagonal_factor(flow, y, metric)
    if factor is not None:
        return -matrix_measure(generalized_jacobian(flow, y, t, args, factor=factor), norm)
    if not _is_dense(y, operands):
        return -growth(mode_at(flow, t, y, args, metric))
    lin = linearise(flow, t, y, args, default_metric(flow, y, metric))
    return -largest_eigenvalue(*lin.pencil)


_rate_at_state = eqx.filter_jit(_rate)


def largest_eigenvalue(s: Float[Array, "n n"], m: Float[Array, "n n"]) -> Float[Array, ""]:
    """The algebraically largest eigenvalue of the symmetric pencil `s x = lambda m x`; NaN if `m` is not positive."""
    return matrix_measure(reduced_pencil(s, m)[1], 2)


def reduced_pencil(s: Float[Array, "n n"], m: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Float[Array, "n n"]]:
    """`L` and `L^-1 S L^-T`, with the eigenvalues of the pencil, for `M = L L^T`; NaN if `m` is not positive."""
    lower = jnp.linalg.cholesky(m)
    half = solve_triangular(lower, s, lower=True)
    return lower, solve_triangular(lower, half.T, lower=True)
