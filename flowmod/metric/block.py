"""Metrics of modules put together: block diagonal, each block with a weight."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, PyTree

from .._tree import floats, is_float_array, is_traced, ravel
from .._typing import Args, Covector, State, Vector
from ..linalg import symmetric_positive
from ..linalg.in_turn import Token, token
from ._base import AbstractMetric, require_metric
from ._factorise import inverse_at


class BlockMetric(AbstractMetric):
    """`blkdiag(P_i M_i)` on a state that is a tuple or a dict of the states of modules.

    Systems that `fm.cascade`, `fm.feedback`, `fm.independent` and `fm.network` assemble are measured in one. The
    weights `P_i` compare lengths in one module with lengths in another; `fm.compose` finds those that a rate needs.

    Args:
        metrics: one metric for each module: a sequence for a state that is a tuple, a dict for one that is a dict.
        weights: `P_i`, positive numbers in the same order or under the same names; all 1 by default.

    Raises:
        ValueError: if `metrics` holds anything else, or the weights are not positive, finite and one for each metric;
            when used, if the state has other modules.

    Example:
        ```python
        metric = fm.BlockMetric((fm.Euclidean(), fm.ConstantMetric(M)), weights=(1.0, 0.5))
        metric.norm((x1, x2), (v1, v2))
        ```
    """

    metrics: Any
    weights: Any

    def __init__(
        self,
        metrics: Sequence[AbstractMetric] | Mapping[str, AbstractMetric],
        weights: Sequence[Any] | Mapping[str, Any] | None = None,
    ):
        if not isinstance(metrics, Mapping | Sequence) or not len(metrics):
            raise ValueError(f"`metrics` must be a sequence or a dict of metrics, got {metrics!r}.")
        self.metrics = dict(metrics) if isinstance(metrics, Mapping) else tuple(metrics)
        for name, metric in self._named():
            require_metric(f"metrics[{name!r}]", metric)
        self.weights = self._checked(weights)

    def weighted(self, weights: Sequence[Any] | Mapping[str, Any]) -> "BlockMetric":
        """The same blocks with other weights."""
        return BlockMetric(self.metrics, weights)

    def flat(self, y: State, vector: Vector, args: Args = None) -> Covector:
        blocks = [
            _times(weight, metric.flat(place, v, args))
            for metric, weight, place, v in zip(*self._blocks(), self._split(y), self._split(vector), strict=True)
        ]
        return _join(floats(y), blocks)

    def sharp(self, y: State, covector: Covector, args: Args = None) -> Vector:
        after, blocks = None, []
        for metric, weight, place, g in zip(*self._blocks(), self._split(y), self._split(covector), strict=True):
            metric, place, g = _after(after, (metric, place, g))
            vector = metric.sharp(place, g, args)
            after = token(ravel(vector))
            blocks.append(_times(1 / weight, vector))
        return _join(floats(y), blocks)

    def __call__(self, y: State, args: Args = None) -> lx.AbstractLinearOperator:
        operators = tuple(metric(place, args) for metric, place in zip(self._blocks()[0], self._split(y), strict=True))
        return BlockOperator(self, operators, y, args)

    def at(self, t) -> "BlockMetric":
        moved = jax.tree.map(lambda metric: metric.at(t), self.metrics, is_leaf=_is_metric)
        return eqx.tree_at(lambda block: block.metrics, self, moved)

    def inverse(self, y: State, args: Args = None) -> Callable[[Covector], Vector]:
        """`covector -> M(y)^-1 covector` with each block factored once."""
        after, inverses = None, []
        for metric, place in zip(self._blocks()[0], self._split(y), strict=True):
            metric, place = _after(after, (metric, place))
            inverses.append(inverse_at(metric, place, args))
            after = token(ravel(inverses[-1](floats(place))))

        def solve(covector):
            last, blocks = None, []
            for inverse, weight, g in zip(inverses, self._blocks()[1], self._split(covector), strict=True):
                vector = inverse(_after(last, g))
                last = token(ravel(vector))
                blocks.append(_times(1 / weight, vector))
            return _join(floats(y), blocks)

        return solve

    def _blocks(self) -> tuple[list[AbstractMetric], list[Float[Array, ""]]]:
        # A weight that is not positive makes no metric: NaN, as where a matrix is none.
        weights = [jnp.where(weight > 0, weight, jnp.nan) for weight in jax.tree.leaves(self.weights)]
        return jax.tree.leaves(self.metrics, is_leaf=_is_metric), weights

    def _split(self, tree: PyTree) -> list[PyTree]:
        """The modules' parts of a state or a vector, in the order of its leaves."""
        if isinstance(self.metrics, dict):
            if not isinstance(tree, dict) or set(tree) != set(self.metrics):
                raise ValueError(
                    f"The state of this `BlockMetric` is a dict of the modules {sorted(self.metrics)}, got "
                    f"{_shown(tree)}."
                )
        parts = jax.tree.leaves(tree, is_leaf=lambda node: node is not tree)
        if len(parts) != len(self.metrics):
            raise ValueError(
                f"The state of this `BlockMetric` is a tuple of the states of {len(self.metrics)} modules, got "
                f"{_shown(tree)}."
            )
        return parts

    def _named(self) -> list[tuple[Any, AbstractMetric]]:
        return list(self.metrics.items() if isinstance(self.metrics, dict) else enumerate(self.metrics))

    def _checked(self, weights: Any) -> Any:
        names = [name for name, _ in self._named()]
        if isinstance(self.metrics, dict):
            weights = dict.fromkeys(names, 1.0) if weights is None else weights
            if not isinstance(weights, Mapping) or set(weights) != set(names):
                raise ValueError(
                    f"`weights` must be a dict with a number for each of {names}, since named modules have no order, "
                    f"got {weights!r}."
                )
            return {name: _weight(name, weights[name]) for name in names}
        weights = [1.0] * len(names) if weights is None else weights
        if isinstance(weights, Mapping) or not hasattr(weights, "__len__") or len(weights) != len(names):
            raise ValueError(f"`weights` must be one number for each of {len(names)} modules, got {weights!r}.")
        return tuple(_weight(name, weight) for name, weight in zip(names, weights, strict=True))


class BlockOperator(lx.AbstractLinearOperator):
    """`blkdiag(P_i M_i)` at a state, made of the operators of the blocks."""

    metric: BlockMetric
    operators: tuple[lx.AbstractLinearOperator, ...]
    y: State
    args: Args

    def mv(self, vector: Vector) -> Covector:
        _, weights = self.metric._blocks()
        parts = zip(self.operators, weights, self.metric._split(floats(vector)), strict=True)
        return _join(floats(self.y), [_times(weight, operator.mv(v)) for operator, weight, v in parts])

    def as_matrix(self) -> Float[Array, "n n"]:
        dtype, (_, weights) = ravel(self.y).dtype, self.metric._blocks()
        pairs = zip(self.operators, weights, strict=True)
        return jax.scipy.linalg.block_diag(*(_times(w.astype(dtype), o.as_matrix().astype(dtype)) for o, w in pairs))

    def factorise(self) -> Callable[[Covector], Vector]:
        return self.metric.inverse(self.y, self.args)

    def transpose(self) -> "BlockOperator":
        return self

    def in_structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return jax.eval_shape(lambda: floats(self.y))

    def out_structure(self) -> PyTree[jax.ShapeDtypeStruct]:
        return self.in_structure()


symmetric_positive(BlockOperator)
lx.is_diagonal.register(BlockOperator)(lambda operator: all(map(lx.is_diagonal, operator.operators)))


def _is_metric(node: Any) -> bool:
    return isinstance(node, AbstractMetric)


def _times(weight: Float[Array, ""], tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: weight.astype(leaf.dtype) * leaf, tree)


def _join(like: PyTree, parts: list[PyTree]) -> PyTree:
    return jax.tree.unflatten(jax.tree.structure(like, is_leaf=lambda node: node is not like), parts)


def _after(done: Token | None, tree: PyTree) -> PyTree:
    """`tree`, not known before `done` is: factorisations of blocks that run at once can block each other for ever."""
    if done is None:
        return tree
    zero = jnp.asarray(done)
    return jax.tree.map(lambda leaf: leaf + zero.astype(leaf.dtype) if is_float_array(leaf) else leaf, tree)


def _weight(name: Any, value: Any) -> Float[Array, ""]:
    try:
        weight = jnp.asarray(value, dtype=float if not hasattr(value, "dtype") else None)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`weights[{name!r}]` must be a positive number, got {value!r}.") from error
    if weight.shape or (not is_traced(weight) and not 0 < float(weight) < float("inf")):
        raise ValueError(f"`weights[{name!r}]` must be a positive number, got {value!r}.")
    return weight if jnp.issubdtype(weight.dtype, jnp.floating) else weight.astype(jnp.result_type(float))


def _shown(tree: PyTree) -> str:
    return str(jax.tree.structure(tree))
