"""Primitives that move entries and compute nothing: they move nodes as they would move numbers."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from .rules import Symbolic, dtype_of, refused, rule_for


def _movement(*names: str) -> Callable:
    """A rule by a function `(eqn, *arrays)` of NumPy arrays, which holds whatever their entries are."""

    def register(move):
        @rule_for(*names)
        def rule(translator, eqn, values):
            if not any(isinstance(value, Symbolic) for value in values):
                return move(eqn, *values)
            result = move(eqn, *(translator.nodes(value) for value in values))
            return [Symbolic(part) for part in result] if isinstance(result, list) else Symbolic(result)

        return rule

    return register


@_movement("stop_gradient", "copy", "name", "nontraceable")
def _identity(eqn, array):
    return array


@_movement("optimization_barrier")
def _barrier(eqn, *arrays):
    return list(arrays)


@_movement("reshape")
def _reshape(eqn, array):
    return array.reshape(eqn.params["new_sizes"])


@_movement("squeeze")
def _squeeze(eqn, array):
    return array.reshape(eqn.outvars[0].aval.shape)


@_movement("transpose")
def _transpose(eqn, array):
    return array.transpose(eqn.params["permutation"])


@_movement("rev")
def _reverse(eqn, array):
    return np.flip(array, eqn.params["dimensions"])


@_movement("broadcast_in_dim")
def _broadcast(eqn, array):
    shape, kept = eqn.params["shape"], eqn.params["broadcast_dimensions"]
    spread = np.ones(len(shape), dtype=int)
    spread[list(kept)] = array.shape
    return np.broadcast_to(array.reshape(spread), shape)


@_movement("concatenate")
def _concatenate(eqn, *arrays):
    return np.concatenate(arrays, axis=eqn.params["dimension"])


@_movement("stack")
def _stack(eqn, *arrays):
    return np.stack(arrays, axis=eqn.params["axis"])


@_movement("unstack")
def _unstack(eqn, array):
    return list(np.moveaxis(array, eqn.params["axis"], 0))


@_movement("split")
def _split(eqn, array):
    return np.split(array, np.cumsum(eqn.params["sizes"])[:-1], axis=eqn.params["axis"])


@_movement("tile")
def _tile(eqn, array):
    return np.tile(array, eqn.params["reps"])


@_movement("slice")
def _slice(eqn, array):
    start, limit = eqn.params["start_indices"], eqn.params["limit_indices"]
    strides = eqn.params["strides"] or (1,) * len(start)
    return array[tuple(map(slice, start, limit, strides))]


@_movement("pad")
def _pad(eqn, array, filling):
    for axis, (before, after, between) in enumerate(eqn.params["padding_config"]):
        spread = np.moveaxis(array, axis, 0)
        length = max(len(spread) + between * (len(spread) - 1), 0)
        full = np.full((max(before, 0) + length + max(after, 0), *spread.shape[1:]), filling)
        full[max(before, 0) : max(before, 0) + length : between + 1] = spread
        array = np.moveaxis(full[max(-before, 0) : len(full) - max(-after, 0)], 0, axis)
    return array


@rule_for("iota")
def _iota(translator, eqn, values):
    shape, axis = eqn.params["shape"], eqn.params["dimension"]
    return np.indices(shape)[axis].astype(eqn.params["dtype"])


@rule_for("dynamic_slice")
def _dynamic_slice(translator, eqn, values):
    array, *start = values
    window = _window(translator, eqn, start, eqn.invars[0].aval.shape, eqn.params["slice_sizes"])
    return Symbolic(array.nodes[window]) if isinstance(array, Symbolic) else array[window]


@rule_for("dynamic_update_slice")
def _dynamic_update_slice(translator, eqn, values):
    array, update, *start = values
    window = _window(translator, eqn, start, eqn.invars[0].aval.shape, eqn.invars[1].aval.shape)
    if isinstance(array, np.ndarray) and isinstance(update, np.ndarray):
        array = array.copy()
        array[window] = update
        return array
    nodes = translator.nodes(array).copy()
    nodes[window] = translator.nodes(update)
    return Symbolic(nodes)


def _window(translator, eqn, start, shape, sizes) -> tuple[slice, ...]:
    # JAX moves a window that would stick out inside.
    wanted = (int(_index(translator, eqn, value)) for value in start)
    first = [min(max(i, 0), n - size) for i, n, size in zip(wanted, shape, sizes, strict=True)]
    return tuple(slice(i, i + size) for i, size in zip(first, sizes, strict=True))


def _index(translator, eqn, value) -> np.ndarray:
    known = translator.known(value)
    if known is None:
        raise refused(eqn, "at an index that depends on the state")
    return known.astype(int)


@rule_for("gather")
def _gather(translator, eqn, values):
    array, indices = values[0], _index(translator, eqn, values[1])
    if not isinstance(array, Symbolic):
        return np.asarray(eqn.primitive.bind(jnp.asarray(array), jnp.asarray(indices), **eqn.params))
    # Nodes are small enough to be exact as floats, which have a NaN for indices outside, and JAX's own rules apply.
    moved = np.asarray(eqn.primitive.bind(_as_floats(array.nodes), jnp.asarray(indices), **eqn.params))
    return Symbolic(np.where(np.isnan(moved), translator.builder.constant(np.nan), np.nan_to_num(moved)).astype(int))


@rule_for("scatter")
def _scatter(translator, eqn, values):
    array, indices, update = values[0], _index(translator, eqn, values[1]), values[2]
    if not isinstance(array, Symbolic) and not isinstance(update, Symbolic):
        return np.asarray(eqn.primitive.bind(*map(jnp.asarray, (array, indices, update)), **eqn.params))
    nodes = _as_floats(translator.nodes(array)), jnp.asarray(indices), _as_floats(translator.nodes(update))
    return Symbolic(np.asarray(eqn.primitive.bind(*nodes, **eqn.params)).astype(int))


@rule_for("scatter-add")
def _scatter_add(translator, eqn, values):
    array, indices, update = values[0], _index(translator, eqn, values[1]), values[2]
    if dtype_of(eqn) != np.float64:
        raise refused(eqn, "on whole numbers")
    # Where each entry of the update goes: JAX's own rules, on one at a time.
    shape = eqn.invars[2].aval.shape
    units = np.eye(int(np.prod(shape, dtype=int))).reshape(-1, *shape)
    start = np.zeros(eqn.invars[0].aval.shape)
    goes = np.asarray(
        jax.vmap(lambda unit: eqn.primitive.bind(start, jnp.asarray(indices), unit, **eqn.params))(units)
    ).reshape(len(units), -1)
    result = translator.nodes(array).ravel().copy()
    for node, target in zip(translator.nodes(update).ravel(), goes, strict=True):
        for i in np.flatnonzero(target):
            result[i] = translator.builder.apply("add", int(result[i]), int(node))
    return Symbolic(result.reshape(start.shape))


def _as_floats(nodes: np.ndarray) -> jax.Array:
    return jnp.asarray(nodes, dtype=np.float64)
