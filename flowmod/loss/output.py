"""Metrics of a module's outputs, as factors `L` with `L^T L` the metric of one sample's output."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._tree import require_arguments
from ..linalg import psd_sqrt
from ._samples import as_samples
from .losses import AbstractLoss, MeanSquaredError

Coordinates = tuple[Float[Array, "N C"], Float[Array, "N ..."]]


class AbstractOutputMetric(eqx.Module):
    """What a change of the outputs costs: the end of the recursion of a layerwise metric."""

    @abc.abstractmethod
    def rows(self, outputs: Float[Array, "N ..."], targets: Any) -> Float[Array, "N C ..."]:
        """The factor `L` of each sample: `C` rows like an output. `targets` are those of the batch, or `None`."""

    @abc.abstractmethod
    def coordinates(
        self, loss: AbstractLoss, outputs: Float[Array, "N ..."], costates: Float[Array, "N ..."]
    ) -> Coordinates | None:
        """`e` and a remainder with `L^T e + remainder = costate` for each sample; `None` where they are not known.

        Costates are the derivatives of `loss` in the outputs. The gradient of the loss is then `K^T e`, and its solve
        is pushed through the factors without cancellation. The remainder is zero but for outputs so wrong that `e` has
        no floating-point number.
        """


class OutputIdentity(AbstractOutputMetric):
    """`L = I`: changes of all outputs cost the same, as the squared error has it."""

    def rows(self, outputs: Float[Array, "N ..."], targets: Any) -> Float[Array, "N C ..."]:
        n, *shape = outputs.shape
        size = outputs[0].size
        return jnp.broadcast_to(jnp.eye(size, dtype=outputs.dtype).reshape(1, size, *shape), (n, size, *shape))

    def coordinates(
        self, loss: AbstractLoss, outputs: Float[Array, "N ..."], costates: Float[Array, "N ..."]
    ) -> Coordinates | None:
        return costates.reshape(costates.shape[0], -1), jnp.zeros_like(costates)


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

    def coordinates(
        self, loss: AbstractLoss, outputs: Float[Array, "N ..."], costates: Float[Array, "N ..."]
    ) -> Coordinates | None:
        is_identity = isinstance(self.loss, MeanSquaredError)
        return OutputIdentity().coordinates(loss, outputs, costates) if is_identity else None


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

    def coordinates(
        self, loss: AbstractLoss, outputs: Float[Array, "N ..."], costates: Float[Array, "N ..."]
    ) -> Coordinates | None:
        return None


def flat_rows(rows: Float[Array, "N C ..."]) -> Float[Array, "N C D"]:
    """The rows of factors with outputs of any shape as those of matrices."""
    return rows.reshape(*rows.shape[:2], -1)


def require_output(output: Any) -> None:
    """Raise a `ValueError` unless it is a metric of outputs."""
    if not isinstance(output, AbstractOutputMetric):
        raise ValueError(f"`output` must be a metric of outputs, as `fm.OutputIdentity()`, got {output!r}.")


def require_count(argument: str, count: Any) -> None:
    """Raise a `ValueError` unless it is a whole number from 1."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"`{argument}` must be a whole number from 1, got {count!r}.")
