"""The Fisher information of a likelihood as a metric of outputs, and the metric that a loss brings along."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from ._likelihoods import LIKELIHOODS
from .losses import AbstractLoss, MeanSquaredError
from .output import AbstractOutputMetric, Coordinates, OutputIdentity


class OutputFisher(AbstractOutputMetric):
    """The Fisher information of the likelihood that the outputs parametrise.

    With the negative log-likelihood as its loss a layerwise metric is that of natural gradient descent; all but the
    Gaussian's equal the Hessian of that loss, whatever the targets.

    Args:
        likelihood: `"categorical"`, of C logits: `L^T L = diag(p) - p p^T`, of `C - 1` rows;
            `"bernoulli"`, of the logits of independent events: `diag(p (1 - p))`;
            `"poisson"`, of the logarithms of rates: `diag(rate)`;
            `"gaussian"`, of d means, then the logarithms of d variances: `diag(1 / variance, 1/2)`.

    Raises:
        ValueError: for another likelihood; for outputs that do not fit it.

    Reference: S. Amari, "Natural gradient works efficiently in learning" (1998).
    """

    likelihood: str = eqx.field(static=True, default="categorical")

    def __check_init__(self):
        if self.likelihood not in LIKELIHOODS:
            raise ValueError(
                f"`likelihood` must be one of {', '.join(LIKELIHOODS)}, got {self.likelihood!r}: a Gaussian of fixed "
                "variance has `fm.OutputIdentity()`."
            )

    def rows(self, outputs: Float[Array, "N ..."], targets: Any) -> Float[Array, "N C ..."]:
        return LIKELIHOODS[self.likelihood].rows(outputs)

    def coordinates(
        self, loss: AbstractLoss, outputs: Float[Array, "N ..."], costates: Float[Array, "N ..."]
    ) -> Coordinates | None:
        return LIKELIHOODS[self.likelihood].coordinates(loss, outputs, costates)


def output_metric_of(loss: AbstractLoss) -> AbstractOutputMetric:
    """The metric that a loss brings along: the Fisher information of the likelihood of which it is the logarithm.

    Raises:
        ValueError: for a loss of the user's own, whose likelihood is not known.
    """
    if isinstance(loss, MeanSquaredError):
        return OutputIdentity()
    for name, likelihood in LIKELIHOODS.items():
        if isinstance(loss, likelihood.loss):
            return OutputFisher(name)
    raise ValueError(
        f"`output` must be given for the loss {type(loss).__name__}: `fm.OutputHessian(loss)` is its curvature."
    )
