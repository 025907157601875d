"""The flat metric: `M = I`, so that vectors and covectors are the same numbers."""

import jax
import lineax as lx

from .._tree import floats
from .._typing import Args, Covector, State, Vector
from ._base import AbstractMetric


class Euclidean(AbstractMetric):
    """`M = I`: the metric of plain gradient descent, in whatever coordinates and units the state happens to have.

    Example:
        ```python
        fm.Euclidean().norm(y, v)  # sqrt(sum of squares of all leaves)
        ```
    """

    def __call__(self, y: State, args: Args = None) -> lx.AbstractLinearOperator:
        like = floats(y)
        return lx.IdentityLinearOperator(jax.eval_shape(lambda: like))

    def flat(self, y: State, vector: Vector, args: Args = None) -> Covector:
        return floats(vector)

    def sharp(self, y: State, covector: Covector, args: Args = None) -> Vector:
        return floats(covector)

    def at(self, t) -> "Euclidean":
        return self
