"""What is asked of a flow: its field, potential and metric as functions of flat numbers, as they are computed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._tree import combine, ravel, size, unraveler
from ..._typing import Args, State
from ...flow import AbstractFlow, GradientFlow
from ...metric import AbstractMetric, Euclidean, PullbackMetric
from ..jacobian import Factor, default_metric, diagonal_factor, unless_own


class Question(NamedTuple):
    """What is asked of a flow, in which measure.

    Attributes:
        flow: the flow.
        like: a state, for its tree and what in it does not move.
        args: handed to the flow and to the metric.
        metric: the metric, or `None` for the flow's own.
        factor: `Theta` of the metric `Theta^T Theta`, or `None`.
        norm: 1, 2 or infinity.
    """

    flow: AbstractFlow
    like: State
    args: Args
    metric: AbstractMetric | None
    factor: Factor
    norm: float

    @property
    def size(self) -> int:
        return size(self.like)

    def state(self, x: Float[Array, " n"]) -> State:
        """The state of flat numbers."""
        return combine(unraveler(self.like)(x), self.like)

    def velocity(self, x: Float[Array, " n"], t: Float[Array, ""]) -> Float[Array, " n"]:
        """The vector field, flat."""
        return ravel(self.flow.vector_field(t, self.state(x), self.args))

    def potential(self, x: Float[Array, " n"]) -> Float[Array, ""]:
        """The potential of a gradient flow."""
        return jnp.asarray(self.flow.potential(self.state(x), self.args))  # pyright: ignore[reportOptionalCall]

    def given_matrix(self, x: Float[Array, " n"], t: Float[Array, ""]) -> Float[Array, "n n"]:
        """`M` as the metric gives it."""
        if self.factor is not None:
            theta = self.theta(x, t)
            return theta.T @ theta
        return self.measure.at(t)(self.state(x), self.args).as_matrix().astype(x.dtype)

    def metric_matrix(self, x: Float[Array, " n"], t: Float[Array, ""]) -> Float[Array, "n n"]:
        """`(M + M^T) / 2`."""
        matrix = self.given_matrix(x, t)
        return (matrix + matrix.T) / 2

    @property
    def measure(self) -> AbstractMetric:
        """The metric that is meant, where there is no factor."""
        return default_metric(self.flow, self.like, self.metric)

    def theta(self, x: Float[Array, " n"], t: Float[Array, ""]) -> Float[Array, "n n"]:
        """The factor, as a matrix."""
        factor = self.factor
        if factor is None:
            factor = diagonal_factor(self.flow, self.like, self.metric)
        value = factor(t, self.state(x), self.args) if callable(factor) else factor
        theta, n = jnp.asarray(value).astype(x.dtype), self.size
        if theta.shape not in ((n,), (n, n)):
            raise ValueError(f"`factor` must be an ({n}, {n}) matrix or ({n},) weights, got shape {theta.shape}.")
        return jnp.diag(theta) if theta.ndim == 1 else theta

    @property
    def descends(self) -> bool:
        """Whether the rate is the smallest eigenvalue of a Riemannian Hessian."""
        own = self.factor is None and unless_own(self.flow, self.metric) is None
        return own and isinstance(self.flow, GradientFlow)

    def covector(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """The gradient of the potential, as JAX takes it."""
        return jax.grad(self.potential)(x)

    def coordinates(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """The coordinates of a pullback metric, flat."""
        return ravel(self.flow.metric.fn(self.state(x), self.args))  # pyright: ignore

    def immersion(self, x: Float[Array, " n"]) -> Float[Array, "m n"]:
        """The `K` of a pullback metric, as JAX takes it."""
        return jax.jacfwd(self.coordinates)(x)

    @property
    def pulled_back(self) -> bool:
        """Whether the flow's own metric is that of coordinates measured by their Euclidean lengths, and of a mass."""
        own = self.flow.metric
        return isinstance(own, PullbackMetric) and isinstance(own.output, Euclidean)
