"""A metric without off-diagonal entries."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from .._tree import as_float, cast_like, floats, is_traced, label_of, require_arguments
from .._typing import Args, Covector, State, Vector
from ._base import AbstractMetric
from ._matrix import state_size


class DiagonalMetric(AbstractMetric):
    """A state-dependent diagonal metric: each number of the state has a weight of its own.

    Args:
        fn: `fn(y, args)` returns the diagonal of `M` (not of its inverse) as a tree like `y`, all entries positive.

    Raises:
        ValueError: if the tree or a shape differs from the state's, or, at a concrete state, an entry is not positive.
    """

    fn: Callable

    def __check_init__(self):
        require_arguments("fn", self.fn, ("y", "args"))

    def diagonal(self, y: State, args: Args = None) -> Vector:
        """The diagonal of `M(y)` as a tree like the float leaves of `y`."""
        state_size(y)
        like, diagonal = floats(y), self.fn(y, args)
        diagonal = jax.tree.map(as_float, diagonal)
        if jax.tree.structure(like) != jax.tree.structure(floats(diagonal)):
            raise ValueError(
                f"`fn(y, args)` must return a tree like the state, {jax.tree.structure(like)}, "
                f"got {jax.tree.structure(diagonal)}."
            )
        for (path, leaf), entry in zip(jax.tree.leaves_with_path(like), jax.tree.leaves(floats(diagonal)), strict=True):
            if jnp.shape(leaf) != jnp.shape(entry):
                raise ValueError(
                    f"`fn(y, args)` must return an array of shape {jnp.shape(leaf)} at '{label_of(path)}', "
                    f"got shape {jnp.shape(entry)}: one weight for each number of the state."
                )
            if not is_traced(entry) and not bool(np.all(np.asarray(entry) > 0)):
                raise ValueError(
                    f"`fn(y, args)` must be positive, got {np.asarray(entry)} at '{label_of(path)}'. "
                    "Add a mass, or keep the state away from where the metric degenerates."
                )
        return cast_like(floats(diagonal), like)

    def __call__(self, y: State, args: Args = None) -> lx.AbstractLinearOperator:
        operator = lx.DiagonalLinearOperator(self.diagonal(y, args))
        return lx.TaggedLinearOperator(operator, lx.positive_semidefinite_tag)

    def flat(self, y: State, vector: Vector, args: Args = None) -> Covector:
        return jax.tree.map(lambda d, v: d * v, self.diagonal(y, args), floats(vector))

    def sharp(self, y: State, covector: Covector, args: Args = None) -> Vector:
        # A weight that is not positive would give a finite, wrong vector: NaN is what the other metrics give.
        return jax.tree.map(lambda d, g: jnp.where(d > 0, g / d, jnp.nan), self.diagonal(y, args), floats(covector))

    def at(self, t) -> "DiagonalMetric":
        return self
