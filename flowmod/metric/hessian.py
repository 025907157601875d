"""The metric of a mirror flow: the second derivative of a convex function."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._tree import as_float, cast_like, combine, floats, is_traced, ravel, require_arguments, unraveler, where_finite
from .._typing import Args, Covector, State, Vector
from ..linalg import newton
from ._matrix import state_size, tolerance
from ._matrix_metric import AbstractMatrixMetric


class HessianMetric(AbstractMatrixMetric):
    """`M(y)`, the matrix of second derivatives of a strictly convex function, the mirror map's potential.

    Its gradient flow is the mirror flow: the dual coordinates `grad fn(y)` move with `-grad f`, as straight as plain
    gradient descent moves the state. `fm.discretize(flow, h, "mirror")` takes the steps of mirror descent.

    `flat` is one derivative of the gradient along a vector. `sharp` forms the matrix and factors it: for states of up
    to a few thousand numbers.

    Args:
        fn: `fn(y, args)`, a scalar: `jnp.sum(y * jnp.log(y))` (negative entropy, exponentiated gradient),
            `-jnp.sum(jnp.log(y))` (the barrier of the positive orthant), the log-partition of an exponential family.
        inverse: `inverse(y_star, args)`, the inverse of the gradient of `fn`, which is the gradient of its convex
            conjugate: a tree like the state. Newton's method finds it by default.

    Raises:
        ValueError: if a function takes other arguments or returns another shape, when called at a concrete state where
            the matrix is not positive definite, or where `inverse` is not the inverse.

    Example:
        ```python
        entropy = fm.HessianMetric(lambda p, args: jnp.sum(p * jnp.log(p)), inverse=lambda s, args: jnp.exp(s - 1))
        exponentiated_gradient = fm.discretize(fm.GradientFlow(potential, entropy), 0.1, "mirror")
        ```

    Reference: A. Beck and M. Teboulle, "Mirror descent and nonlinear projected subgradient methods for convex
    optimization" (2003); G. Raskutti and S. Mukherjee, "The information geometry of mirror descent" (2015).
    """

    fn: Callable
    inverse: Callable | None = None
    source: ClassVar[str] = "the second derivative of fn"

    def __check_init__(self):
        require_arguments("fn", self.fn, ("y", "args"))
        if self.inverse is not None:
            require_arguments("inverse", self.inverse, ("y_star", "args"))

    def matrix(self, y: State, args: Args = None) -> Float[Array, "n n"]:
        push = jax.linearize(self._flat_dual(y, args), ravel(y))[1]
        return jax.vmap(push)(jnp.eye(state_size(y), dtype=ravel(y).dtype))

    def flat(self, y: State, vector: Vector, args: Args = None) -> Covector:
        along = jax.jvp(lambda leaves: self.dual(combine(leaves, y), args), (floats(y),), (floats(vector),))[1]
        return cast_like(along, floats(y))

    def dual(self, y: State, args: Args = None) -> Covector:
        """The dual coordinates `grad fn(y)`: NaN where `fn` is not finite."""

        def scalar(leaves):
            value = as_float(self.fn(combine(leaves, y), args))
            if value.shape != ():
                raise ValueError(f"`fn` must return a scalar, got an array of shape {value.shape}: sum over it.")
            return value

        value, covector = jax.value_and_grad(scalar)(floats(y))
        return where_finite(value, covector)

    def primal(self, y_star: Covector, near: State, args: Args = None) -> State:
        """The state whose dual coordinates are `y_star`: NaN where there is none, or Newton's method does not find it.

        Args:
            y_star: the dual coordinates, a tree like the float leaves of `near`.
            near: a state in the domain of `fn`, from which Newton's method starts.
            args: handed to `fn`.
        """
        if self.inverse is not None:
            return combine(self._checked_inverse(self.inverse(y_star, args), y_star, near, args), near)
        dual, wanted, start, unravel = self._flat_dual(near, args), ravel(y_star), ravel(near), unraveler(near)
        wanted = wanted.astype(start.dtype)

        def length(x, vector):
            # The metric's own: a number next to the edge of the domain counts as much as one far away.
            return self.norm(combine(unravel(x), near), unravel(vector), args).astype(x.dtype)

        floor = jnp.finfo(start.dtype).eps ** 0.5 * length(start, start)
        root = newton(lambda x: dual(x) - wanted, start, floor, length=length)
        # `fn` may be finite outside of its domain, and have the wanted derivative there: a saddle is no minimum.
        back, push = jax.linearize(dual, root)
        right = jnp.all(_same(back, wanted)) & (root @ push(root) >= 0)
        return combine(unravel(jnp.where(right, root, jnp.nan)), near)

    def _flat_dual(self, y: State, args: Args) -> Callable[[Float[Array, " n"]], Float[Array, " n"]]:
        unravel = unraveler(y)
        return lambda x: ravel(self.dual(combine(unravel(x), y), args))

    def _checked_inverse(self, found: Any, y_star: Covector, near: State, args: Args) -> Vector:
        """What `inverse` returned; NaN (a `ValueError` at concrete states) where its dual is not `y_star`."""
        like, found = floats(near), floats(jax.tree.map(as_float, found))
        shapes = [[jnp.shape(leaf) for _, leaf in jax.tree.leaves_with_path(tree)] for tree in (found, like)]
        if jax.tree.structure(found) != jax.tree.structure(like) or shapes[0] != shapes[1]:
            raise ValueError(f"`inverse` must return a tree like the state, of shapes {shapes[1]}, got {shapes[0]}.")
        found = cast_like(found, like)
        back, wanted = ravel(self.dual(combine(found, near), args)), ravel(y_star)
        right = _same(back, wanted)
        if not is_traced(right) and bool(jnp.any(~right & jnp.isfinite(back))):
            raise ValueError(
                "`inverse` must be the inverse of the gradient of `fn`, but the gradient is "
                f"{np.asarray(back)} where it should be {np.asarray(wanted)}. Leave it out for Newton's method."
            )
        return unraveler(like)(jnp.where(right, ravel(found), jnp.nan))


def _same(found: Float[Array, " n"], wanted: Float[Array, " n"]) -> Bool[Array, " n"]:
    """Whether dual coordinates are those wanted, up to rounding."""
    return jnp.abs(found - wanted) <= tolerance(found.dtype) * (1 + jnp.abs(wanted))
