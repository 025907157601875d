"""The metric of coordinates of the user's choice: distances are measured after a map."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._tree import as_float, cast_like, combine, floats, is_traced, label_of, ravel, require_arguments, unraveler
from .._typing import Args, Covector, Scalar, State, Vector
from ._base import AbstractMetric, require_metric
from ._matrix import state_size
from ._matrix_metric import AbstractMatrixMetric
from .euclidean import Euclidean


class PullbackMetric(AbstractMatrixMetric):
    """The metric `M = J^T H J + D` of a map: `J` is its Jacobian, `H` the metric of its outputs, `D` a mass.

    With `fn` a change of coordinates and no mass, a rate in this metric is the Euclidean rate of the flow written in
    the new coordinates. With `fn` the residual of a least-squares problem it is the Gauss-Newton metric, in which the
    flow contracts at rate 1. With more numbers in the state than in the outputs the mass must be positive.

    The matrix is formed, which takes one forward derivative for each number of the state. For a network use
    `fm.FullMetric`, the same metric of a batch of outputs, which never forms it.

    Args:
        fn: `fn(y, args)` returns an array or a tree of arrays, the coordinates in which distances are measured.
        output: the metric of these coordinates, which may move; Euclidean by default.
        mass: not negative: a number, or a tree of numbers or arrays like the state.

    Raises:
        ValueError: if `fn` takes other arguments, `output` is no metric or the mass is negative; when called at a
            concrete state where the matrix is not positive definite.

    Example:
        ```python
        metric = fm.PullbackMetric(lambda y, args: jnp.log(y))  # relative changes count
        ```
    """

    fn: Callable
    output: AbstractMetric
    mass: Any
    source: ClassVar[str] = "J^T H J + mass"

    def __init__(self, fn: Callable, output: AbstractMetric | None = None, mass: Any = 0.0):
        require_arguments("fn", fn, ("y", "args"))
        self.fn = fn
        self.output = Euclidean() if output is None else output
        require_metric("output", self.output)
        self.mass = jax.tree.map(_not_negative, mass)

    def at(self, t: Scalar | Any) -> "PullbackMetric":
        output = self.output.at(t)
        return self if output is self.output else PullbackMetric(self.fn, output, self.mass)

    def matrix(self, y: State, args: Args = None) -> Float[Array, "n n"]:
        n, unravel = state_size(y), unraveler(y)
        push = jax.linearize(lambda x: self._coordinates(combine(unravel(x), y), args), ravel(y))[1]
        columns = jax.vmap(push)(jnp.eye(n, dtype=ravel(y).dtype))
        weighted = jax.vmap(lambda d: self.output.flat(self.fn(y, args), d, args))(columns)
        flat_columns, flat_weighted = jax.vmap(ravel)(columns), jax.vmap(ravel)(weighted)
        return flat_columns @ flat_weighted.T + jnp.diag(ravel(self._mass_like(y)))

    def flat(self, y: State, vector: Vector, args: Args = None) -> Covector:
        # Two derivatives along a vector instead of a Jacobian.
        like = floats(y)
        coordinates, pushed, pull = _both_ways(lambda d: self._coordinates(combine(d, y), args), like, floats(vector))
        pulled = pull(self.output.flat(coordinates, pushed, args))[0]
        return jax.tree.map(lambda p, m, v: p + m * v, pulled, self._mass_like(y), floats(vector))

    def _coordinates(self, y: State, args: Args) -> Any:
        return jax.tree.map(as_float, self.fn(y, args))

    def _mass_like(self, y: State) -> Vector:
        like = floats(y)
        mass = self.mass
        if jax.tree.structure(mass) == jax.tree.structure(0):
            mass = jax.tree.map(lambda leaf: mass, like)
        if jax.tree.structure(mass) != jax.tree.structure(like):
            raise ValueError(
                f"`mass` must be a number or a tree like the state, {jax.tree.structure(like)}, got "
                f"{jax.tree.structure(mass)}."
            )
        return cast_like(jax.tree.map_with_path(_broadcast, mass, like), like)


def _both_ways(fn: Callable, primal: Any, tangent: Any) -> tuple[Any, Any, Callable]:
    """`fn(primal)`, its derivative along `tangent`, and its transposed derivative, from one evaluation."""
    value, push = jax.linearize(fn, primal)
    transposed = jax.linear_transpose(push, primal)
    return value, push(tangent), transposed


def _broadcast(path: Any, mass: Array, leaf: Array) -> Array:
    try:
        return jnp.broadcast_to(mass, leaf.shape)
    except ValueError as error:
        where = f" of the leaf '{label_of(path)}'" if path else ""
        raise ValueError(f"`mass`{where} must be a number or of shape {leaf.shape}, got shape {mass.shape}.") from error


def _not_negative(mass: Any) -> Array:
    mass = as_float(mass)
    if not is_traced(mass) and not bool(np.all(np.isfinite(mass) & (np.asarray(mass) >= 0))):
        raise ValueError(f"`mass` must not be negative, got {np.asarray(mass)}.")
    return mass
