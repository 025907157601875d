"""What is to blame in a supervised problem: the sample that is not finite, the layer that is ill-conditioned."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._typing import Args, State
from ..loss import Supervised, cast_samples
from ..metric import AbstractModularMetric, FullMetric, LayerReport
from ..module import Series, complete

_WANTED = 0.01
"""A relative residual of a factorisation that is good enough to go on with."""


def sample_at_fault(problem: Supervised, params: State, args: Args) -> str:
    """The first sample whose output or loss is not finite, and the layer it comes from; empty if all are finite."""
    module = complete(problem.template, params)
    inputs, targets = problem.batch(args)
    samples = cast_samples(inputs, module)
    outputs = jax.vmap(module)(samples)
    finite = jnp.isfinite(jax.vmap(problem.loss)(outputs, targets))
    if bool(finite.all()):
        return ""
    first = int(np.argmin(finite))
    where = f"in its loss: its output is {_shown(outputs[first])}"
    z = samples[first]
    for place, layer in enumerate(module.layers if isinstance(module, Series) else (module,)):
        z = layer(z)
        if not bool(jnp.isfinite(z).all()):
            where = f"in the output of layer 'layers.{place}'" if isinstance(module, Series) else "in its output"
            break
    return f"sample {first} is the first of {int((~finite).sum())} that are not finite, {where}"


def _shown(output) -> str:
    return np.array2string(np.asarray(output), precision=3, threshold=6).replace("\n", "")


def inner_fault(metric: AbstractModularMetric, layers: LayerReport, mass: Float[Array, " B"]) -> str:
    """The layer whose solve is the worst, with its condition number and the mass that would cure it.

    `mass` is the largest of each block.
    """
    residual = np.asarray(layers.residual)
    worst = int(np.argmax(np.where(np.isfinite(residual), residual, np.inf)))
    whose = f"in layer '{layers.layers[worst]}'" if layers.layers[worst] else "in the only layer"
    whose = "for all layers together" if isinstance(metric, FullMetric) else whose
    condition = float(layers.condition[worst])
    text = (
        f"inner solve of the metric ended with a relative residual of {residual[worst]:.2g} {whose}, of condition "
        f"number {condition:.2g}"
    )
    bearable = _bearable(metric, layers.solver[worst], int(layers.iterations[worst]), np.dtype(mass.dtype))
    if not bearable < condition < math.inf:
        return text
    # |K D^-1 K^T| falls with the mass; rounded up.
    cure = 1.05 * float(np.broadcast_to(mass, residual.shape)[worst]) * (condition - 1) / (bearable - 1)
    return f"{text}: a mass of {cure:.2g} would do"


def _bearable(metric: AbstractModularMetric, solver: str, iterations: int, dtype: np.dtype) -> float:
    """The condition number up to which a solve is exact enough."""
    eps = float(np.finfo(dtype).eps)
    if solver != "conjugate_gradients":
        return _WANTED / eps
    tolerance = float(metric.tolerance.at(dtype))
    root = math.inf
    if iterations:  # |r| <= 2 sqrt(condition) exp(-2 iterations / sqrt(condition)) |b|
        root = 2 * iterations
        for _ in range(5):
            root = 2 * iterations / math.log(2 * max(root, 1) / tolerance)
    return max(min(root**2, max(10 * tolerance, 100 * eps) / eps), 2)
