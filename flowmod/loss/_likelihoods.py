"""Likelihoods of one output: a factor `L` of their Fisher information, and the costates of their losses in its rows.

Theory: in the canonical parameters of an exponential family the Fisher information is the Hessian of the loss too.
"""

import abc
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .losses import (
    AbstractLoss,
    GaussianNegativeLogLikelihood,
    PoissonNegativeLogLikelihood,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)


class AbstractLikelihood(eqx.Module):
    """What an output parametrises; `loss` is the negative logarithm of it."""

    loss: ClassVar[type[AbstractLoss]]

    @abc.abstractmethod
    def rows(self, outputs: Float[Array, "N ..."]) -> Float[Array, "N C ..."]:
        """`L` with `L^T L` the Fisher information of each sample."""

    @abc.abstractmethod
    def coordinates(
        self, loss: AbstractLoss, outputs: Float[Array, "N ..."], costates: Float[Array, "N ..."]
    ) -> tuple[Float[Array, "N C"], Float[Array, "N ..."]] | None:
        """`e` and a remainder with `L^T e + remainder = costate`."""


class Categorical(AbstractLikelihood):
    """Logits: `diag(p) - p p^T`, of rank `C - 1`, by as many rows.

    Row `i` tells class `i` from the mean of those after it, `L_i = s_i (e_i - sum_(j > i) (p_j / r_i) e_j)` with
    `r_i = sum_(j > i) p_j` and `s_i^2 = p_i r_i / (p_i + r_i)`: the Cholesky factor.
    """

    # Turning the C rows diag(sqrt p) - sqrt(p) p^T by a Householder reflection of sqrt p gives C - 1 rows as well.
    # But they are large where the coordinates of an unlikely label are large too, and L^T e cancels: here |s_i e_i|
    # is at most 1.

    loss: ClassVar[type[AbstractLoss]] = SoftmaxCrossEntropy

    def rows(self, outputs: Float[Array, "N C"]) -> Float[Array, "N R C"]:
        _check_logits(outputs)
        contrasts, log_scales, *_ = _one_against_later(outputs)
        return jnp.exp(log_scales)[:, :, None] * contrasts

    def coordinates(
        self, loss: AbstractLoss, outputs: Float[Array, "N C"], costates: Float[Array, "N C"]
    ) -> tuple[Float[Array, "N R"], Float[Array, "N C"]] | None:
        if not isinstance(loss, self.loss):
            return None  # only costates that sum to zero are in the range of L^T
        contrasts, log_scales, first, others = _one_against_later(outputs)
        later = jax.lax.cumsum(costates, axis=1, reverse=True)[:, 1:]
        e, missed = _divided(others * costates[:, :-1] - first * later, log_scales)
        return e, jnp.einsum("nr,nrc->nc", missed, contrasts)


class AbstractIndependent(AbstractLikelihood):
    """Outputs whose Fisher information is diagonal, and so is `L`."""

    @abc.abstractmethod
    def log_scales(self, outputs: Float[Array, "N ..."]) -> Float[Array, "N ..."]:
        """The logarithm of the diagonal of `L`: finite where the diagonal underflows."""

    def rows(self, outputs: Float[Array, "N ..."]) -> Float[Array, "N C ..."]:
        n, *shape = outputs.shape
        scales = jnp.exp(self.log_scales(outputs)).reshape(n, -1)
        size = scales.shape[1]
        return (scales[:, :, None] * jnp.eye(size, dtype=scales.dtype)[None]).reshape(n, size, *shape)

    def coordinates(
        self, loss: AbstractLoss, outputs: Float[Array, "N ..."], costates: Float[Array, "N ..."]
    ) -> tuple[Float[Array, "N C"], Float[Array, "N ..."]] | None:
        e, missed = _divided(costates, self.log_scales(outputs))
        return e.reshape(e.shape[0], -1), missed


class Gaussian(AbstractIndependent):
    """Means, then the logarithms of the variances: `diag(1 / variance, 1/2)`."""

    loss: ClassVar[type[AbstractLoss]] = GaussianNegativeLogLikelihood

    def log_scales(self, outputs: Float[Array, "N C"]) -> Float[Array, "N C"]:
        if outputs.ndim != 2 or outputs.shape[1] % 2:
            raise ValueError(
                '`OutputFisher("gaussian")` needs as many log variances as means for each sample, got outputs of '
                f"shape {outputs.shape[1:]}: give the module twice as many outputs as a target has numbers."
            )
        means, log_variances = jnp.split(outputs, 2, axis=1)
        return jnp.concatenate([-log_variances / 2, jnp.full_like(means, -math.log(2) / 2)], axis=1)


class Bernoulli(AbstractIndependent):
    """Logits of independent events: `diag(p (1 - p))`."""

    loss: ClassVar[type[AbstractLoss]] = SigmoidCrossEntropy

    def log_scales(self, outputs: Float[Array, "N ..."]) -> Float[Array, "N ..."]:
        return (jax.nn.log_sigmoid(outputs) + jax.nn.log_sigmoid(-outputs)) / 2


class Poisson(AbstractIndependent):
    """Logarithms of rates: `diag(rate)`."""

    loss: ClassVar[type[AbstractLoss]] = PoissonNegativeLogLikelihood

    def log_scales(self, outputs: Float[Array, "N ..."]) -> Float[Array, "N ..."]:
        return outputs / 2


LIKELIHOODS: dict[str, AbstractLikelihood] = {
    "categorical": Categorical(),
    "gaussian": Gaussian(),
    "bernoulli": Bernoulli(),
    "poisson": Poisson(),
}


def _check_logits(outputs: Float[Array, "N ..."]) -> None:
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ValueError(
            "`OutputFisher` needs at least 2 logits for each sample, got outputs of shape "
            f"{outputs.shape[1:]}: flatten them, or use `fm.OutputIdentity()`."
        )


def _one_against_later(
    logits: Float[Array, "N C"],
) -> tuple[Float[Array, "N R C"], Float[Array, "N R"], Float[Array, "N R"], Float[Array, "N R"]]:
    """For all classes but the last `L_i / s_i`, `log s_i`, and the shares `p_i` and `r_i` of `p_i + r_i`."""
    classes = logits.shape[1]
    logs = jax.nn.log_softmax(logits)
    tails = jax.lax.cumlogsumexp(logs, axis=1, reverse=True)
    whole, rest = tails[:, :-1], tails[:, 1:]
    is_later = jnp.triu(jnp.ones((classes - 1, classes), bool), 1)[None]
    shares = jnp.exp(jnp.where(is_later, logs[:, None, :] - rest[:, :, None], -jnp.inf))
    contrasts = jnp.eye(classes - 1, classes, dtype=logs.dtype)[None] - shares
    log_scales = (logs[:, :-1] + rest - whole) / 2
    return contrasts, log_scales, jnp.exp(logs[:, :-1] - whole), jnp.exp(rest - whole)


def _divided(
    costates: Float[Array, "N ..."], log_scales: Float[Array, "N ..."]
) -> tuple[Float[Array, "N ..."], Float[Array, "N ..."]]:
    """Costates over scales, and what is left of them where that is no floating-point number."""
    floored = jnp.maximum(log_scales, 0.85 * math.log(float(jnp.finfo(log_scales.dtype).tiny)))
    return costates * jnp.exp(-floored), costates * (1 - jnp.exp(log_scales - floored))
