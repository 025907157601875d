"""Losses of one sample: what an output costs, given its target."""

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._tree import is_traced


class AbstractLoss(eqx.Module):
    """The loss of one sample, `loss(output, target) -> scalar`; `Supervised` takes its mean over samples."""

    @abc.abstractmethod
    def __call__(self, output: Float[Array, "..."], target: Array) -> Float[Array, ""]:
        """The loss of one sample."""

    @abc.abstractmethod
    def check(self, outputs: jax.ShapeDtypeStruct, targets: Array) -> None:
        """Raise a `ValueError` if targets do not fit a batch of outputs; traced values can't be looked at."""


class MeanSquaredError(AbstractLoss):
    """`1/2 |output - target|^2` for a sample; targets are (N, ...) like the outputs."""

    def __call__(self, output: Float[Array, "..."], target: Float[Array, "..."]) -> Float[Array, ""]:
        return jnp.sum((output - target.astype(output.dtype)) ** 2) / 2

    def check(self, outputs: jax.ShapeDtypeStruct, targets: Array) -> None:
        _check_shape(targets, outputs.shape)


class SoftmaxCrossEntropy(AbstractLoss):
    """`-log softmax(output)[label]` for a sample; the outputs are logits, (N, C).

    Targets are labels, (N,) integers from 0 to C - 1, or one-hot rows (any rows of probabilities), (N, C). A label
    out of range gives NaN where its value can't be looked at.
    """

    def __call__(self, output: Float[Array, " C"], target: Array) -> Float[Array, ""]:
        return -jnp.sum(_probabilities(target, output) * jax.nn.log_softmax(output))

    def check(self, outputs: jax.ShapeDtypeStruct, targets: Array) -> None:
        if len(outputs.shape) != 2 or outputs.shape[1] < 2:
            raise ValueError(
                f"`module` must give at least 2 logits per sample for `SoftmaxCrossEntropy`, got outputs of shape "
                f"{outputs.shape[1:]}: end it with as many outputs as there are classes."
            )
        classes = outputs.shape[1]
        if jnp.issubdtype(targets.dtype, jnp.floating):
            _check_rows(targets, outputs)
            return
        if not jnp.issubdtype(targets.dtype, jnp.integer) or targets.shape != outputs.shape[:1]:
            raise ValueError(
                f"`targets` must be integer labels of shape {outputs.shape[:1]} or rows of probabilities of shape "
                f"{outputs.shape}, got {targets.dtype} of shape {targets.shape}: `.ravel()` a column, `.astype(int)` "
                "booleans, `.astype(float)` one-hot rows."
            )
        if is_traced(targets):
            return
        wrong = np.flatnonzero((np.asarray(targets) < 0) | (np.asarray(targets) >= classes))
        if wrong.size:
            raise ValueError(
                f"`targets` must be labels from 0 to {classes - 1}, got {int(targets[wrong[0]])} at sample {wrong[0]} "
                f"({wrong.size} in all): renumber the classes, or give the module more outputs."
            )


class SigmoidCrossEntropy(AbstractLoss):
    """`-log` of the probability of independent events, given their logits; targets are (N, ...) like the outputs.

    A target is 0 or 1, also as a boolean, or a probability between them. It is the loss of multi-label classification,
    and with one output per sample of logistic regression.
    """

    def __call__(self, output: Float[Array, "..."], target: Array) -> Float[Array, ""]:
        happened = target.astype(output.dtype)
        return -jnp.sum(happened * jax.nn.log_sigmoid(output) + (1 - happened) * jax.nn.log_sigmoid(-output))

    def check(self, outputs: jax.ShapeDtypeStruct, targets: Array) -> None:
        _check_shape(targets, outputs.shape)
        _check_values(targets, lambda values: (values >= 0) & (values <= 1), "between 0 and 1, probabilities of events")


class PoissonNegativeLogLikelihood(AbstractLoss):
    """`rate - count log(rate) + log(count!)` for a sample, summed; the outputs are `log(rate)`.

    Targets are counts, (N, ...) like the outputs.
    """

    def __call__(self, output: Float[Array, "..."], target: Array) -> Float[Array, ""]:
        counts = target.astype(output.dtype)
        return jnp.sum(jnp.exp(output) - counts * output + jax.scipy.special.gammaln(counts + 1))

    def check(self, outputs: jax.ShapeDtypeStruct, targets: Array) -> None:
        _check_shape(targets, outputs.shape)
        _check_values(targets, lambda values: values >= 0, "counts, 0 or more")


class GaussianNegativeLogLikelihood(AbstractLoss):
    """`-log` of the density of independent normal variables, whose variances are learned too.

    The outputs are `d` means, then the logarithms of the `d` variances, (N, 2 d); targets are (N, d).
    """

    def __call__(self, output: Float[Array, " C"], target: Array) -> Float[Array, ""]:
        mean, log_variance = jnp.split(output, 2)
        squares = (mean - target.astype(output.dtype)) ** 2
        return jnp.sum(squares * jnp.exp(-log_variance) + log_variance + math.log(2 * math.pi)) / 2

    def check(self, outputs: jax.ShapeDtypeStruct, targets: Array) -> None:
        if len(outputs.shape) != 2 or outputs.shape[1] % 2:
            raise ValueError(
                "`module` must give as many log variances as means per sample for `GaussianNegativeLogLikelihood`, got "
                f"outputs of shape {outputs.shape[1:]}: end it with twice as many outputs as a target has numbers."
            )
        wanted = (outputs.shape[0], outputs.shape[1] // 2)
        if targets.shape != wanted:
            raise ValueError(
                f"`targets` must have one number for each mean of the module's outputs, {wanted}, got {targets.shape}: "
                "reshape them, or give the module a mean and a log variance for each number."
            )


def _check_shape(targets: Array, wanted: tuple[int, ...]) -> None:
    if targets.shape != wanted:
        raise ValueError(
            f"`targets` must have the shape of the module's outputs, {wanted}, got {targets.shape}: reshape "
            "them, or give the module as many outputs as a target has numbers."
        )


def _check_values(targets: Array, allowed: Callable[[np.ndarray], np.ndarray], what: str) -> None:
    if is_traced(targets):
        return
    values = np.asarray(targets)
    wrong = np.argwhere(~allowed(values))
    if wrong.size:
        sample = wrong[0][0]
        raise ValueError(f"`targets` must be {what}, got {values[tuple(wrong[0])]} at sample {sample}: correct it.")


def _probabilities(target: Array, output: Float[Array, " C"]) -> Float[Array, " C"]:
    if jnp.issubdtype(target.dtype, jnp.floating):
        return target.astype(output.dtype)
    classes = output.shape[0]
    known = (target >= 0) & (target < classes)
    return jnp.where(known, jax.nn.one_hot(target, classes, dtype=output.dtype), jnp.nan)


def _check_rows(targets: Array, outputs: jax.ShapeDtypeStruct) -> None:
    if targets.shape != outputs.shape:
        raise ValueError(
            f"`targets` must be integer labels of shape {outputs.shape[:1]} or rows of probabilities of shape "
            f"{outputs.shape}, got {targets.dtype} of shape {targets.shape}: convert labels with `.astype(int)`."
        )
    if is_traced(targets):
        return
    rows = np.asarray(targets)
    wrong = np.flatnonzero((rows < 0).any(axis=1) | (np.abs(rows.sum(axis=1) - 1) > 1e-3))
    if wrong.size:
        raise ValueError(
            f"`targets` must be rows of probabilities that add up to 1, got {rows[wrong[0]]} at sample {wrong[0]}."
        )
