"""The generalized Jacobian of a flow in a metric, and the symmetric pencil that its rates come from."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from .._tree import as_state, combine, dtype_of, floats, is_float_array, ravel, require_arguments, size, unraveler
from .._typing import Args, Scalar, State
from ..flow import AbstractFlow, field_jacobian, require_flow
from ..metric import AbstractMetric, Euclidean, asymmetry, require_metric, tolerance

Factor = Any


class Linearisation(eqx.Module):
    """What a rate needs of a flow at one state, as matrices in `ravel_pytree` order.

    Attributes:
        jacobian: `J = dv/dy`, 1/time.
        metric: `M(t, y)`.
        metric_rate: `M' = dM/dt + sum_k v_k dM/dy_k`, the total derivative along the flow.
    """

    jacobian: Float[Array, "n n"]
    metric: Float[Array, "n n"]
    metric_rate: Float[Array, "n n"]

    @property
    def pencil(self) -> tuple[Float[Array, "n n"], Float[Array, "n n"]]:
        """`(S, M)` with `S = (M' + M J + J^T M) / 2`: distances grow by at most the largest eigenvalue of `S, M`."""
        product = self.metric @ self.jacobian
        return (self.metric_rate + product + product.T) / 2, self.metric


def default_metric(flow: AbstractFlow, y: State, metric: AbstractMetric | None) -> AbstractMetric:
    """The metric asked for, else the flow's own if it measures the whole state, else the Euclidean one."""
    if metric is not None:
        return metric
    whole = jax.tree.structure(flow.position(y)) == jax.tree.structure(y)
    return flow.metric if whole and flow.metric is not None else Euclidean()


def unless_own(flow: AbstractFlow, metric: AbstractMetric | None) -> AbstractMetric | None:
    """`None` for the flow's own metric, which has a cheaper pencil and inside a trace can't be told from a copy.

    A flow may put its metric together at each access: it is the same one if its leaves are the same objects.
    """
    mine, own = jax.tree.flatten(metric), jax.tree.flatten(flow.metric)
    same = mine[1] == own[1] and all(a is b for a, b in zip(mine[0], own[0], strict=True))
    return None if same else metric


def along_flow(flow: AbstractFlow, t: Scalar, y: State, args: Args, fn: Callable):
    """`fn(t, y)` and its total derivative along the flow, `d_t fn + D_y fn v`."""
    rest, unravel = eqx.filter(y, is_float_array, inverse=True), unraveler(y)
    x, t = ravel(y), jnp.asarray(t, dtype=dtype_of(y))
    velocity = ravel(flow.vector_field(t, y, args))

    def on_path(t, x):
        return fn(t, combine(unravel(x), rest))

    return jax.jvp(on_path, (t, x), (jnp.ones_like(t), velocity))


def linearise(flow: AbstractFlow, t: Scalar, y: State, args: Args, metric: AbstractMetric) -> Linearisation:
    """The matrices of the pencil at one state."""

    def matrix(t, state):
        return metric.at(t)(state, args).as_matrix()

    value, rate = along_flow(flow, t, y, args, matrix)
    # Solves that do not wait for each other can hang XLA's thread pool on two cores: those of the Jacobian wait.
    y = jax.tree.map(lambda leaf: leaf + 0 * rate[0, 0].astype(leaf.dtype) if is_float_array(leaf) else leaf, y)
    # A Cholesky factorisation reads one triangle: a matrix that is not symmetric would pass as another one.
    value = jnp.where(asymmetry(value) <= tolerance(value.dtype), value, jnp.nan)
    return Linearisation(field_jacobian(flow, t, y, args), value, rate)


def generalized_jacobian(
    flow: AbstractFlow,
    y: State,
    t: Any = 0.0,
    args: Args = None,
    metric: AbstractMetric | None = None,
    factor: Factor = None,
) -> Float[Array, "n n"]:
    """The generalized Jacobian `F = (Theta' + Theta J) Theta^-1` of a flow in the metric `M = Theta^T Theta`.

    Without `factor` it is `Theta^-T (M'/2 + M J) Theta^-1` with the upper Cholesky factor `Theta` of `M`: the factor
    turned along the flow so that `Theta' Theta^-1` is symmetric. No factor is differentiated, and the eigenvalues of
    the symmetric part are the same for every factor of the same metric. `F` itself is not.

    Args:
        flow: the flow.
        y: the state.
        t: the time.
        args: handed to the flow and to the metric.
        metric: the metric; the flow's own by default, else Euclidean.
        factor: `Theta`, an (n, n) matrix, (n,) weights for a diagonal one, or `fn(t, y, args)` that returns one of
            them, for the literal formula with this factor.

    Returns:
        `F`, (n, n), in 1/time.

    Raises:
        ValueError: if both `metric` and `factor` are given, or the factor is not square.

    Reference: W. Lohmiller and J.-J. E. Slotine, "On contraction analysis for non-linear systems" (1998).
    """
    require_flow(flow)
    y = as_state("y", y)
    if metric is not None:
        require_metric("metric", metric)
    if factor is not None:
        return _with_factor(flow, t, y, args, metric, factor)
    lin = linearise(flow, t, y, args, default_metric(flow, y, metric))
    theta = jnp.linalg.cholesky(lin.metric, upper=True)
    left = solve_triangular(theta, lin.metric_rate / 2 + lin.metric @ lin.jacobian, trans="T")
    return solve_triangular(theta, left.T, trans="T").T


def _with_factor(flow, t, y, args, metric, factor):
    if metric is not None:
        raise ValueError("Give `metric` or `factor`, not both: a factor is a metric already, `M = factor^T factor`.")
    fn = factor
    if not callable(factor):
        matrix = jnp.asarray(factor)
        fn = eqx.Partial(lambda matrix, t, y, args: matrix, matrix)
    else:
        require_arguments("factor", factor, ("t", "y", "args"))
    n = size(y)

    def theta_at(t, state):
        theta = jnp.asarray(fn(t, state, args)).astype(dtype_of(y))
        if theta.shape not in ((n,), (n, n)):
            raise ValueError(f"`factor` must be an ({n}, {n}) matrix or ({n},) weights, got shape {theta.shape}.")
        return jnp.diag(theta) if theta.ndim == 1 else theta

    theta, theta_rate = along_flow(flow, t, y, args, theta_at)
    return jnp.linalg.solve(theta.T, (theta_rate + theta @ field_jacobian(flow, t, y, args)).T).T


def diagonal_factor(flow: AbstractFlow, y: State, metric: AbstractMetric | None) -> Callable:
    """`Theta = diag(sqrt d)` of a diagonal metric `M = diag(d)`, as (n,) weights `fn(t, y, args)`.

    Raises:
        ValueError: when called, if the metric is not diagonal.
    """
    measure = default_metric(flow, y, metric)

    def weights(t, y, args):
        metric = measure.at(t)
        if not lx.is_diagonal(metric(y, args)):
            raise ValueError(
                f"`norm=1` and `norm=jnp.inf` need a diagonal metric or a `factor`, but the metric is a "
                f"{type(metric).__name__}: these norms depend on the factor `Theta` and not on `M = Theta^T Theta` "
                "alone (a rotation changes them). Give `factor=Theta`, or a metric such as `fm.Euclidean()` or a "
                "`fm.DiagonalMetric`."
            )
        diagonal = ravel(metric.flat(y, jax.tree.map(jnp.ones_like, floats(y)), args))
        return jnp.sqrt(jnp.where(diagonal > 0, diagonal, jnp.nan))

    return weights
