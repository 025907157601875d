"""Pytree algebra: which leaves are a state, and linear algebra on them."""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

_ARRAYS = (jax.Array, np.ndarray, np.generic)


def floats(tree: PyTree) -> PyTree:
    """The float arrays of a tree; every other leaf becomes `None`."""
    return eqx.filter(tree, is_float_array)


def is_float_array(leaf: Any) -> bool:
    if not isinstance(leaf, _ARRAYS):
        return False
    kind = getattr(leaf.dtype, "kind", None)  # fast; a random key has none
    return kind == "f" or jnp.issubdtype(leaf.dtype, jnp.floating)


def as_state(argument: str, y: PyTree) -> PyTree:
    """A state with its Python floats as arrays; leaves of an Equinox module that are no float arrays stay.

    Raises:
        ValueError: for a number that is no float, outside of modules.
    """

    def convert(path, leaf):
        if isinstance(leaf, eqx.Module) or is_float_array(leaf):
            return leaf
        if isinstance(leaf, float):
            return np.asarray(leaf, dtype=jnp.result_type(float))
        where = f" at '{label_of(path)}'" if path else ""
        kind = getattr(leaf, "dtype", type(leaf).__name__)
        raise ValueError(
            f"`{argument}` must hold float arrays, got {kind}{where}: write 1.0 for 1, or convert with "
            "`jnp.asarray(value, dtype=float)`."
        )

    return jax.tree.map_with_path(convert, y, is_leaf=lambda node: isinstance(node, eqx.Module))


def traced_numbers(tree: PyTree) -> PyTree:
    """Python floats as (weakly typed) arrays, so that another number is not another program."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if type(leaf) is float else leaf, tree)


def as_float(value: Any) -> Array:
    """A number or an array as a float array: a metric or a field may be written in whole numbers."""
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.result_type(float))


def combine(vector: PyTree, state: PyTree) -> PyTree:
    """The float leaves of `vector` put back into the tree of `state`."""
    return eqx.combine(vector, eqx.filter(state, is_float_array, inverse=True))


def ravel(tree: PyTree) -> Float[Array, " n"]:
    """All float leaves as one flat array, in the order of `jax.flatten_util.ravel_pytree` and the widest precision."""
    leaves = jax.tree.leaves(floats(tree))
    widest = np.result_type(*(leaf.dtype for leaf in leaves))
    return jnp.concatenate([jnp.ravel(leaf).astype(widest) for leaf in leaves])


def unraveler(tree: PyTree) -> Callable[[Float[Array, " n"]], PyTree]:
    """The inverse of `ravel` for trees like the float leaves of `tree`, each leaf in its own precision."""
    leaves, structure = jax.tree.flatten(floats(tree))
    edges = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def unravel(vector):
        parts = zip(jnp.split(vector, edges), leaves, strict=True)
        return jax.tree.unflatten(structure, [part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in parts])

    return unravel


def size(tree: PyTree) -> int:
    """How many float numbers a tree holds."""
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(floats(tree)))


def dot(a: PyTree, b: PyTree) -> Float[Array, ""]:
    """The pairing of a covector and a vector (or of two trees alike), a scalar."""
    products = [jnp.sum(x * y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]
    widest = np.result_type(*(product.dtype for product in products))
    return sum((product.astype(widest) for product in products[1:]), start=products[0].astype(widest))


def negative(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.negative, tree)


def where_finite(value: Float[Array, ""], tree: PyTree) -> PyTree:
    """`tree` where `value` is finite, else NaN."""
    # A factor, because a selected constant would have the derivative zero, and a rate there would be zero.
    defined = jnp.where(jnp.isfinite(value), 1, jnp.nan)
    return jax.tree.map(lambda leaf: leaf * defined.astype(leaf.dtype), tree)


def cast_like(tree: PyTree, like: PyTree) -> PyTree:
    """`tree` in the dtypes of `like`: a metric in double precision must not widen a float32 state."""
    return jax.tree.map(lambda x, y: jnp.asarray(x).astype(jnp.result_type(y)), tree, like)


def dtype_of(tree: PyTree) -> np.dtype:
    """The common dtype of the float leaves: the narrowest, because no result is better than it."""
    dtypes = [np.dtype(leaf.dtype) for leaf in jax.tree.leaves(tree) if is_float_array(leaf)]
    return min(dtypes, key=lambda dtype: dtype.itemsize)


def is_traced(*trees: Any) -> bool:
    """Whether any leaf is a JAX tracer, so that its value can't be looked at."""
    for tree in trees:
        if tree is None or isinstance(tree, float | int | np.ndarray):
            continue
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree)):
            return True
    return False


def require_arguments(argument: str, fn: Callable, signature: tuple[str, ...]) -> None:
    """Raise a `ValueError` unless `fn` can be called with as many positional arguments as `signature` names."""
    wanted = f"`{argument}` must be a function of ({', '.join(signature)})"
    if not callable(fn):
        raise ValueError(f"{wanted}, got {fn!r}.")
    try:
        inspect.signature(fn).bind(*signature)
    except TypeError as error:
        raise ValueError(
            f"{wanted}, but {getattr(fn, '__name__', type(fn).__name__)!s} can't be called so ({error}). "
            "Add the missing argument, even if it is not used."
        ) from error
    except ValueError:  # a builtin without a signature: its first call will tell
        return


def label_of(path: tuple) -> str:
    """A leaf's path as users write it: `layers.0.weight`, `u`; the empty path is a bare array."""
    return ".".join(key_of(entry) for entry in path)


def key_of(entry: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)
