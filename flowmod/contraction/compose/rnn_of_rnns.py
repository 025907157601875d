"""Recurrent networks of recurrent networks: a coupling that contracts whatever its size."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ...metric import tolerance
from ._matrices import blkdiag, metric_matrix, real_matrix
from ._parts import listed, rates_in
from .composition import Composition
from .independent import uncoupled


def rnn_of_rnns(rates: Any, coupling: Any = None, metrics: Sequence[Any] | None = None) -> Composition:
    """The rate of modules with a coupling `x' = v(x) + L x` that is skew in their metrics: the smallest of theirs.

    `L = B - Mb^-1 B^T Mb` with any matrix `B` and `Mb = blkdiag(M_i)` has a skew `Mb L`, so that it adds nothing to the
    symmetric part. `fm.compose.skew_coupling` makes one.

    Args:
        rates: the rate of each module in its metric, numbers or certificates, (N,).
        coupling: `L`, (n, n), to check it; without it, it is taken to be skew in the metrics of the rates.
        metrics: `M_i` of each module, N matrices; Euclidean by default.

    Returns:
        The `Composition`. What a given coupling misses by rounding is taken off the rate.

    Raises:
        ValueError: if a rate is not finite or not proved, a matrix does not fit, `Mb L` is not skew, or a certificate
            is one in another metric.

    Reference: L. Kozachkov, M. Ennis, J.-J. E. Slotine, "RNNs of RNNs: recursive construction of stable assemblies of
    recurrent neural networks" (2022).
    """
    rates = listed("rates", rates)
    found = rates_in("rates", rates)
    if metrics is not None and len(metrics) != len(found.values):
        raise ValueError(f"`metrics` must be one for each of the {len(found.values)} modules, got {len(metrics)}.")
    if coupling is None:
        return uncoupled(found)
    if found.corners is not None:
        metrics = [np.eye(np.shape(rate.corners)[1]) for rate in rates] if metrics is None else metrics
        _require_metrics_of(rates, metrics)
    coupling, metric = _pair("coupling", coupling, metrics)
    if len(coupling) < len(rates):
        raise ValueError(
            f"`coupling` must have a row and a column for each number of the {len(rates)} modules, got shape "
            f"{coupling.shape}."
        )
    product = metric @ coupling
    symmetric = (product + product.T) / 2
    if np.abs(symmetric).max() > tolerance(product.dtype) * np.abs(product).max():
        i, j = (int(k) for k in np.unravel_index(np.argmax(np.abs(symmetric)), symmetric.shape))
        raise ValueError(
            f"`coupling` must be skew in the modules' metrics, but `Mb L + (Mb L)^T` is {2 * symmetric[i, j]:.6g} at "
            f"[{i}, {j}]. Make it with `fm.compose.skew_coupling(matrix, metrics)`, or give its gains to "
            "`fm.compose.network`."
        )
    # The symmetric part that rounding left in the coupling, and what this check itself may have rounded away.
    rounded = (len(metric) + 2) * np.finfo(np.float64).eps * np.linalg.norm(np.abs(metric) @ np.abs(coupling))
    missed = (np.linalg.norm(symmetric) + rounded) / np.linalg.eigvalsh(metric)[0]
    return uncoupled(found._replace(values=np.nextafter(found.values - missed, -np.inf)))


def skew_coupling(matrix: Any, metrics: Sequence[Any] | None = None) -> Float[np.ndarray, "n n"]:
    """`B - Mb^-1 B^T Mb`, a coupling that is skew in the metric `Mb = blkdiag(M_i)`: for `fm.compose.rnn_of_rnns`.

    Args:
        matrix: `B`, any (n, n) matrix; `B[i, j]` is what number `j` of the joint state does to number `i`.
        metrics: `M_i` of each module, whose sizes add up to n; Euclidean by default.

    Returns:
        The coupling, (n, n).

    Raises:
        ValueError: if a matrix is not square, a metric not positive definite, or the sizes do not add up.
    """
    matrix, metric = _pair("matrix", matrix, metrics)
    return matrix - np.linalg.solve(metric, matrix.T @ metric)


def _require_metrics_of(rates: list[Any], metrics: Sequence[Any]) -> None:
    """Refuse metrics that are not surely those of the certificates: in others the coupling need not be skew."""
    for i, (rate, value) in enumerate(zip(rates, metrics, strict=True)):
        metric, program = metric_matrix(f"metrics[{i}]", value), rate.metric_program
        # Numbers that the program holds are exact, those that it computes are not.
        found = np.empty(0)
        if program is not None and all(operation.name == "constant" for operation in program.operations):
            found = program.evaluate(np.zeros((1, program.inputs)))[0]
        if not np.array_equal(found, metric[np.triu_indices(len(metric))]):
            raise ValueError(
                f"`rates[{i}]` is not proved in the metric `metrics[{i}]` (Euclidean by default), or can't be seen to "
                "be. Give the metric that it is certified in. Without `coupling` it is taken at your word to be skew."
            )


def _pair(argument: str, matrix: Any, metrics: Sequence[Any] | None) -> tuple[np.ndarray, np.ndarray]:
    matrix = real_matrix(argument, matrix)
    n = len(matrix)
    blocks = [np.eye(n)] if metrics is None else [metric_matrix(f"metrics[{i}]", m) for i, m in enumerate(metrics)]
    metric = blkdiag(blocks)
    if matrix.shape != metric.shape:
        raise ValueError(
            f"`{argument}` must be square, with a row for each number of the modules, got shape {matrix.shape} for "
            f"metrics of sizes {[len(block) for block in blocks]}."
        )
    return matrix, metric
