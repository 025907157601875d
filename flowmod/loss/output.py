"""Metrics of a module's outputs, as factors `L` with `L^T L` the metric of one sample's output."""

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._tree import require_arguments
from ..linalg import psd_sqrt
from ._samples import as_samples
from .losses import AbstractLoss, MeanSquaredError, SoftmaxCrossEntropy


class AbstractOutputMetric(eqx.Module):
    """What a change of the outputs costs: the end of the recursion of a layerwise metric."""

    @abc.abstractmethod
    def rows(self, outputs: Float[Array, "N ..."], targets: Any) -> Float[Array, "N C ..."]:
        """The factor `L` of each sample: `C` rows like an output. `targets` are those of the batch, or `None`."""


class OutputIdentity(AbstractOutputMetric):
    """`L = I`: changes of all outputs cost the same, as the squared error has it."""

    def rows(self, outputs: Float[Array, "N ..."], targets: Any) -> Float[Array, "N C ..."]:
        n, *shape = outputs.shape
        size = outputs[0].size
        return jnp.broadcast_to(jnp.eye(size, dtype=outputs.dtype).reshape(1, size, *shape), (n, size, *shape))


class OutputFisher(AbstractOutputMetric):
    """The Fisher information of the likelihood that the outputs parametrise.

    Args:
        likelihood: `"categorical"`, of logits: `L = diag(sqrt p) - sqrt(p) p^T` with `L^T L = diag(p) - p p^T`.

    Raises:
        ValueError: for another likelihood.

    Reference: S. Amari, "Natural gradient works efficiently in learning" (1998).
    """

    likelihood: str = eqx.field(static=True, default="categorical")

    def __check_init__(self):
        if self.likelihood != "categorical":
            raise ValueError(
                f'`likelihood` must be "categorical", got {self.likelihood!r}: a Gaussian has `fm.OutputIdentity()`.'
            )

    def rows(self, outputs: Float[Array, "N C"], targets: Any) -> Float[Array, "N C C"]:
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            raise ValueError(
                "`OutputFisher` needs at least 2 logits for each sample, got outputs of shape "
                f"{outputs.shape[1:]}: flatten them, or use `fm.OutputIdentity()`."
            )
        p = jax.nn.softmax(outputs)
        root = jnp.exp(jax.nn.log_softmax(outputs) / 2)  # whose derivative is finite where p underflows
        return root[:, :, None] * (jnp.eye(p.shape[1], dtype=p.dtype)[None] - p[:, None, :])


class OutputHessian(AbstractOutputMetric):
    """The second derivative of a convex loss in the outputs, by its symmetric square root.

    Args:
        loss: a loss of one sample.
        targets: those of the samples, or `None` for the ones that `args` brings.

    Raises:
        ValueError: if `loss` is not a loss.
    """

    loss: AbstractLoss
    targets: Array | None

    def __init__(self, loss: AbstractLoss, targets: Any = None):
        if not isinstance(loss, AbstractLoss):
            raise ValueError(f"`loss` must be a loss such as `fm.MeanSquaredError()`, got {type(loss).__name__}.")
        self.loss = loss
        self.targets = None if targets is None else as_samples("targets", targets)

    def rows(self, outputs: Float[Array, "N ..."], targets: Any) -> Float[Array, "N C ..."]:
        n, *shape = outputs.shape
        targets = targets if self.targets is None else self.targets
        if targets is None:
            raise ValueError("`OutputHessian` needs `targets`: give it some, or pass args = (inputs, targets).")
        self.loss.check(jax.ShapeDtypeStruct(outputs.shape, outputs.dtype), targets)
        hessians = jax.vmap(jax.hessian(self.loss))(outputs, targets)
        size = outputs[0].size
        return psd_sqrt(hessians.reshape(n, size, size)).reshape(n, size, *shape)


class OutputFactor(AbstractOutputMetric):
    """A factor of your own.

    Args:
        factor: `L`, (C, numbers of an output), the same for all samples; or `fn(output)` that returns it for one.

    Raises:
        ValueError: if it is not a matrix with as many columns as an output has numbers.
    """

    factor: Array | Callable[[Any], Any]

    def __init__(self, factor: Any):
        if callable(factor):
            require_arguments("factor", factor, ("output",))
            self.factor = factor
            return
        self.factor = as_samples("factor", factor)
        if self.factor.ndim != 2:
            raise ValueError(f"`factor` must be a matrix, got shape {self.factor.shape}: one row for each cost.")

    def rows(self, outputs: Float[Array, "N ..."], targets: Any) -> Float[Array, "N C ..."]:
        n, *shape = outputs.shape
        size = outputs[0].size
        fn = self.factor if callable(self.factor) else lambda output: self.factor
        rows = jax.vmap(lambda output: jnp.asarray(fn(output)).astype(output.dtype))(outputs)
        if rows.ndim != 3 or rows.shape[2] != size:
            raise ValueError(
                f"`factor` must have {size} columns, one for each number of an output, got shape {rows.shape[1:]}."
            )
        return rows.reshape(n, rows.shape[1], *shape)


def output_metric_of(loss: AbstractLoss) -> AbstractOutputMetric:
    """The metric that a loss brings along: the Fisher information of the likelihood of which it is the logarithm.

    Raises:
        ValueError: for a loss of the user's own, whose likelihood is not known.
    """
    if isinstance(loss, MeanSquaredError):
        return OutputIdentity()
    if isinstance(loss, SoftmaxCrossEntropy):
        return OutputFisher("categorical")
    raise ValueError(
        f"`output` must be given for the loss {type(loss).__name__}: `fm.OutputHessian(loss)` is its curvature."
    )


def residual_coordinates(
    output: AbstractOutputMetric,
    loss: AbstractLoss,
    outputs: Float[Array, "N ..."],
    costates: Float[Array, "N ..."],
) -> tuple[Float[Array, "N C"], Float[Array, "N ..."]] | None:
    """`e` and a remainder with `L^T e + remainder = costate` for each sample; `None` where loss and metric do not fit.

    The gradient of a loss is then `K^T e`, and its solve is pushed through the factors without cancellation. The
    remainder is zero but for outputs so wrong that `e` has no floating-point number.
    """
    if isinstance(output, OutputIdentity):
        return costates.reshape(costates.shape[0], -1), jnp.zeros_like(costates)
    if isinstance(output, OutputFisher) and isinstance(loss, SoftmaxCrossEntropy):
        # (p - y) / sqrt p: the null direction of L^T, sqrt p, is of no effect.
        logs = jax.nn.log_softmax(outputs)
        floored = jnp.maximum(logs, 1.7 * math.log(float(jnp.finfo(logs.dtype).tiny)))
        missed = costates * (1 - jnp.exp((logs - floored) / 2))
        remainder = missed - jnp.exp(logs) * jnp.sum(missed, axis=1, keepdims=True)
        return costates * jnp.exp(-floored / 2), remainder
    return None
