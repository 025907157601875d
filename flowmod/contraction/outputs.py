"""How fast the outputs of a network approach their targets: contraction of the residual, not of the parameters."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._tree import dtype_of, floats, ravel, size, traced_numbers, unraveler
from .._typing import Args, State
from ..flow import AbstractFlow, GradientFlow, require_flow
from ..linalg import JoinedRows, LeadingEigenpair, Product, leading_eigenpair, random_start
from ..loss import AbstractOutputMetric, Supervised
from ..metric import LayerwiseMetric, metric_products
from ..simulate import Trajectory
from ._states import at_each_state
from .leading_mode import CURE

_COLUMNS = 32


class OutputRate(eqx.Module):
    """The eigenvalues of `N = K M^-1 K^T` at a state, or at each state of a run; `print` it.

    Attributes:
        rate: the smallest eigenvalue, 1/time: every residual decays at least that fast while `N` stays what it is.
        fastest: the largest eigenvalue, 1/time.
        rows: how many numbers the residual has, samples times rows of the metric of the outputs.
        parameters: how many numbers there are to move them; with fewer than `rows` the rate is zero.
    """

    rate: Float[np.ndarray, "*times"]
    fastest: Float[np.ndarray, "*times"]
    rows: int = eqx.field(static=True)
    parameters: int = eqx.field(static=True)

    def __str__(self) -> str:
        of = f"of {self.rows} rows by {self.parameters} parameters"
        rate, fastest = (float(np.ravel(values)[-1]) for values in (self.rate, self.fastest))
        last = f", the last of {len(self.rate)} states" if np.ndim(self.rate) else ""
        more = "; more rows than parameters, so some residuals stay" if self.rows > self.parameters else ""
        return f"OutputRate {of}{last}: {rate:.4g} to {fastest:.4g}{more}"


def output_rate(
    flow: AbstractFlow,
    y: State | Trajectory,
    t: Any = 0.0,
    args: Args = None,
    output: AbstractOutputMetric | None = None,
) -> OutputRate:
    """How fast the outputs of a network in training approach their targets: the eigenvalues of the metric-NTK.

    Along `M w' = -grad f` with the mean squared error `f` the outputs obey `z' = -J M^-1 J^T (z - target) / N`. So the
    residual `e = (z - target) / sqrt N` of all samples obeys `e' = -K M^-1 K^T e`, with the rows `K = J / sqrt N` that
    a layerwise metric is made of, and decays at no less than the smallest eigenvalue. For other losses `K = L J / sqrt
    N`, where `L^T L` is the curvature of the loss in the outputs, and `e = L dz / sqrt N` a small deviation of them.

    It is positive for a network with enough parameters, whose parameters themselves never contract from the loss alone
    (see `fm.contraction_rate`). It is the rate of a frozen matrix, and so an estimate: the matrix changes along a run.
    It is of the loss: weight decay moves outputs too, and leaves a residual. It is zero where there are more rows than
    parameters, and where rows depend on each other, as those of two equal samples do.

    Args:
        flow: a gradient flow of a `fm.Supervised`, in any metric.
        y: a state, or a `Trajectory` of this flow.
        t: the time of a state; a trajectory brings its own.
        args: handed to the potential and to the metric.
        output: the curvature of the loss in the outputs; the one that the loss brings along by default.

    Returns:
        An `OutputRate`. A matrix of rows by rows is formed, for up to some thousands of them; with more rows than
        parameters only the largest eigenvalue is looked for, by Lanczos.

    Raises:
        ValueError: if `flow` is no gradient flow of a `fm.Supervised`, a loss of your own has no `output`, or something
            is not finite: with the time. If the state is traced.
        RuntimeError: if Lanczos did not converge.

    Reference: A. Jacot, F. Gabriel, C. Hongler, "Neural tangent kernel: convergence and generalization in neural
    networks" (2018), for `M = I`.
    """
    require_flow(flow)
    if not isinstance(flow, GradientFlow) or not isinstance(flow.potential, Supervised):
        raise ValueError(
            "`flow` must be a gradient flow of a `fm.Supervised`, whose outputs are known, got "
            f"{type(flow).__name__} of {type(flow.potential).__name__}: `fm.GradientFlow(problem, metric)`."
        )
    rows = LayerwiseMetric.of(flow.potential, output)
    args = traced_numbers(args)
    return at_each_state(lambda t, y, name: _at_state(flow, rows, t, y, args, name), y, t, flow, args)


def _at_state(flow, rows, t, y, args, name) -> OutputRate:
    count, parameters = _count(rows, y, args), size(y)
    if count > parameters:
        mode = _fastest(flow, rows, t, y, args)
        mode.require_converged(CURE)
        values = np.array([0 * mode.value, mode.value])
    else:
        kernel = np.asarray(_kernel(flow, rows, t, y, args))
        values = np.linalg.eigvalsh((kernel + kernel.T) / 2) if np.isfinite(kernel).all() else np.array([np.nan])
    if not np.isfinite(values).all():
        raise ValueError(
            f"The rate of the outputs is not finite {name}: the network or its metric is not. Look at the state there."
        )
    smallest, largest = np.maximum(values[[0, -1]], 0)  # of a positive semidefinite matrix: below zero is rounding
    return OutputRate(np.asarray(smallest), np.asarray(largest), count, parameters)


def _count(rows: LayerwiseMetric, y: State, args: Args) -> int:
    return eqx.filter_eval_shape(lambda y: _products(rows, y, args)[0](ravel(y)), y).size


@eqx.filter_jit
def _kernel(flow, rows, t, y, args) -> Float[Array, "R R"]:
    """`K M^-1 K^T`, some columns at a time."""
    push, pull = _products(rows, y, args)
    _, solve = metric_products(flow.metric.at(t), y, args)
    count = jax.eval_shape(push, ravel(y)).size
    return jax.lax.map(lambda unit: push(solve(pull(unit))), jnp.eye(count, dtype=ravel(y).dtype), batch_size=_COLUMNS)


@eqx.filter_jit
def _fastest(flow, rows, t, y, args) -> LeadingEigenpair:
    """The largest eigenvalue of `K M^-1 K^T`, which is that of the pencil `K^T K, M`."""
    push, pull = _products(rows, y, args)
    products = metric_products(flow.metric.at(t), y, args)
    start = random_start(size(y), ravel(y).dtype)
    return leading_eigenpair(lambda d: pull(push(d)), *products, start, precision=dtype_of(y))


def _products(rows: LayerwiseMetric, y: State, args: Args) -> tuple[Product, Product]:
    """`d -> K d` and `e -> K^T e`, flat."""
    owners, unravel = rows.owners, unraveler(y)
    factor = JoinedRows(rows.factors(y, args))

    def push(d):
        return factor.mv(tuple(leaf for part in owners.split(unravel(d)) for leaf in part)).ravel()

    def pull(e):
        return ravel(owners.join(factor.split(factor.rmv(e.reshape(factor.row_shape))), floats(y)))

    return push, pull
