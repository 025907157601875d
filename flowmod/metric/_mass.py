"""The mass of a layerwise metric, from what users write to one array for each leaf of each block."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._tree import floats, is_traced
from ..linalg import Blocks, Parts
from .trace_mass import TraceMass

Mass = Any
"""A positive number, a sequence of them by layer, a tree of numbers or arrays like the module, or a `TraceMass`."""


def mass_by_block(mass: Mass, blocks: Blocks, like: PyTree) -> Parts | TraceMass:
    """`mass` for each leaf of each block: scalars, or arrays that broadcast to the leaf's shape; a rule as it is.

    Args:
        mass: what the user wrote.
        blocks: the blocks of the module.
        like: the module's float leaves, or their shapes.

    Raises:
        ValueError: if it is not positive, or neither a number, a sequence by layer, nor a tree like the module.
    """
    if isinstance(mass, TraceMass):
        return mass
    leaves, structure = jax.tree.flatten(like)
    shapes = blocks.split_leaves([leaf.shape for leaf in leaves])
    if _is_number(mass):
        parts = tuple(tuple(mass for _ in part) for part in shapes)
    elif _is_sequence(mass) and all(map(_is_number, mass)):
        if len(mass) != len(blocks.names):
            raise ValueError(
                f"`mass` must have a number for each of the {len(blocks.names)} layers with parameters "
                f"({', '.join(blocks.names)}), got {len(mass)}."
            )
        parts = tuple(tuple(m for _ in part) for m, part in zip(mass, shapes, strict=True))
    else:
        tree = mass if jax.tree.structure(mass) == structure else floats(mass)
        if jax.tree.structure(tree) != structure:
            raise ValueError(
                "`mass` must be a positive number, a sequence with one for each layer "
                f"({', '.join(blocks.names)}), or a tree of numbers or arrays like the module, got {mass!r:.60}."
            )
        parts = blocks.split_leaves(jax.tree.leaves(tree))
    return tuple(
        tuple(_entry(name, value, shape) for value, shape in zip(part, part_shapes, strict=True))
        for name, part, part_shapes in zip(blocks.names, parts, shapes, strict=True)
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    is_scalar = isinstance(value, jax.Array | np.ndarray | np.generic) and np.ndim(value) == 0
    return isinstance(value, int | float) or (is_scalar and not jnp.iscomplexobj(value))


def _is_sequence(value: Any) -> bool:
    by_number = isinstance(value, jax.Array | np.ndarray) and value.ndim == 1
    return by_number or (isinstance(value, Sequence) and not isinstance(value, str))


def _entry(name: str, value: Any, shape: tuple[int, ...]):
    entry = jnp.asarray(value, dtype=float)
    by_axis = len(entry.shape) == len(shape) and all(a in (1, b) for a, b in zip(entry.shape, shape, strict=True))
    if entry.shape != () and not by_axis:
        raise ValueError(
            f"`mass` must be a number or an array of shape {shape} in layer '{name}', or 1 along an axis, got "
            f"{entry.shape}."
        )
    if is_traced(entry):
        return entry
    wrong = np.argwhere(~(np.isfinite(entry) & (np.asarray(entry) > 0)))
    if len(wrong):
        place = tuple(map(int, wrong[0]))
        at = f" at {list(place)}" if place else ""
        raise ValueError(
            f"`mass` must be positive, got {float(entry[place]):.6g}{at} in layer '{name}': without a mass the metric "
            "is singular, because a layer has more parameters than the outputs can tell apart."
        )
    return entry
