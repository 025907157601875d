"""What a metric is: a symmetric positive operator at every state, and the four things done with it."""

import abc
from typing import Any

import equinox as eqx
import lineax as lx
from jaxtyping import Array, Float

from .._tree import dot, floats
from .._typing import Args, Covector, Scalar, State, Vector


class AbstractMetric(eqx.Module):
    """A Riemannian metric, the mass matrix `M(y)` of a flow `M(y) y' = -grad f(y)`.

    A metric is called at a state and returns a lineax operator from vectors to covectors, tagged positive
    semidefinite. Its matrix has the unit [potential] x time / [state]^2 in a first-order flow: a friction, not an
    inertia. Subclasses give `__call__`, `flat`, `sharp` and `at`; the rest follows.

    Reference: S. Amari, "Natural gradient works efficiently in learning" (1998), for `sharp` of a gradient.
    """

    @abc.abstractmethod
    def __call__(self, y: State, args: Args = None) -> lx.AbstractLinearOperator:
        """The operator `M(y)`, in the structure of the float leaves of `y`."""

    @abc.abstractmethod
    def flat(self, y: State, vector: Vector, args: Args = None) -> Covector:
        """`M(y) vector`: the covector of a vector."""

    @abc.abstractmethod
    def sharp(self, y: State, covector: Covector, args: Args = None) -> Vector:
        """`M(y)^-1 covector`: the vector of a covector. No sign, no step; NaN where `M(y)` is no metric."""

    @abc.abstractmethod
    def at(self, t: Scalar | Any) -> "AbstractMetric":
        """The metric at time `t`: itself, unless it moves."""

    def inner(self, y: State, u: Vector, v: Vector, args: Args = None) -> Float[Array, ""]:
        """`u^T M(y) v`, a scalar."""
        return dot(floats(u), self.flat(y, v, args))

    def norm(self, y: State, v: Vector, args: Args = None) -> Float[Array, ""]:
        """`sqrt(v^T M(y) v)`, the metric's length of `v`: NaN where it has none."""
        return self.inner(y, v, v, args) ** 0.5


def require_metric(argument: str, metric: Any) -> None:
    if not isinstance(metric, AbstractMetric):
        raise ValueError(
            f"`{argument}` must be a metric, got {type(metric).__name__}. "
            "Wrap a matrix as `fm.ConstantMetric(matrix)`, a function of (y, args) as `fm.DenseMetric(fn)`."
        )
