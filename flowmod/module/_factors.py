"""From costates at the uses of parameters to the row factor of a block."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._tree import combine, floats
from ..linalg import (
    AbstractRows,
    ArrangedRows,
    AutodiffRows,
    DenseRows,
    JoinedRows,
    KhatriRaoRows,
    Layout,
    LookupRows,
    PositionRows,
    SummedRows,
)
from ._groups import Group, by_layout
from ._jaxpr import shape_of
from ._uses import AbstractUse, LookupUse


class Costates(NamedTuple):
    """What a bundle of costates has become on its way back through a module.

    Attributes:
        module: the module.
        inputs: its samples, (N, ...).
        outputs: the costates at the outputs, (N, C, ...).
        uses: at the results of each use, (N, C, ...), by its place.
        kept: what each use keeps of its operands, (N, S, ...), by its place.
        leaves: at the leaves with short rows, (N, C, ...), by their numbers.
    """

    module: Any
    inputs: Array
    outputs: Float[Array, "N C ..."]
    uses: dict[int, Array]
    kept: dict[int, Array]
    leaves: dict[int, Array]


def factor_of(at: Costates, leaves: tuple[int, ...], groups: list[Group]) -> AbstractRows:
    """The row factor of one block, over its `leaves` as they are stored."""
    stored = jax.tree.leaves(floats(at.module))
    dtype = np.dtype(at.outputs.dtype).name
    made = [_group_factor(at, group, stored, dtype) for group in groups]
    factor = made[0][0] if len(made) == 1 else JoinedRows(tuple(rows for rows, _ in made))
    layouts, first = {}, 0
    for group, (_, steps) in zip(groups, made, strict=True):
        for source, (leaf, own) in enumerate(zip(group.leaves, steps, strict=True), first):
            layouts[leaf] = Layout(source, stored[leaf].shape, np.dtype(stored[leaf].dtype).name, own)
        first += len(group.leaves)
    return _arranged(factor, tuple(layouts[leaf] for leaf in leaves), dtype)


def _arranged(factor: AbstractRows, layouts: tuple[Layout, ...], dtype: str) -> AbstractRows:
    plain = (layout.source == i and layout.dtype == dtype and not layout.steps for i, layout in enumerate(layouts))
    return factor if all(plain) else ArrangedRows(factor, layouts, dtype)


def _group_factor(at: Costates, group: Group, stored: list, dtype: str) -> tuple[AbstractRows, list]:
    """The factor of a group, and what makes its leaves of the stored ones."""
    nothing = [()] * len(group.leaves)
    if group.short:
        n, c = at.outputs.shape[:2]
        rows = [at.leaves[leaf].reshape(n, c, -1).astype(dtype) for leaf in group.leaves]
        return DenseRows(jnp.concatenate(rows, axis=2), tuple(stored[leaf].shape for leaf in group.leaves)), nothing
    if not group.uses:
        return _autodiff(at, group), nothing
    kinds = list(by_layout(group.uses).values())
    if len(kinds) == 1:
        rows = _use_factor(at, kinds[0], len(group.leaves) > 1, dtype)
        bias = [(("reshape", rows.shapes[-1]),) if stored[leaf].ndim != 1 else () for leaf in group.leaves[1:]]
        return rows, [kinds[0][0].steps, *bias]
    (leaf,) = group.leaves
    shape = stored[leaf].shape
    uses = (
        _arranged(_use_factor(at, uses, False, dtype), (Layout(0, shape, dtype, uses[0].steps),), dtype)
        for uses in kinds
    )
    return SummedRows(tuple(uses)), nothing


def _use_factor(at: Costates, uses: list[AbstractUse], has_bias: bool, dtype: str) -> AbstractRows:
    """The factor of uses of one matrix: their positions are those of one use after the other."""
    costates = jnp.concatenate([_by_position(use, at.uses[use.place]) for use in uses], axis=2).astype(dtype)
    kept = jnp.concatenate([at.kept[use.place] for use in uses], axis=1)
    if isinstance(uses[0], LookupUse):
        return LookupRows(costates, kept, shape_of(uses[0].eqn.invars[0])[0])
    if kept.shape[1] == 1:
        return KhatriRaoRows(costates[:, :, 0], kept[:, 0].astype(dtype), has_bias)
    return PositionRows(costates, kept.astype(dtype), has_bias)


def _by_position(use: AbstractUse, costates: Float[Array, "N C ..."]) -> Float[Array, "N C S n_out"]:
    return jax.vmap(jax.vmap(use.by_position))(costates)


def _autodiff(at: Costates, group: Group) -> AutodiffRows:
    leaves, structure = jax.tree.flatten(floats(at.module))

    def apply(part, z):
        given = {**dict(enumerate(leaves)), **dict(zip(group.leaves, part, strict=True))}
        changed = jax.tree.unflatten(structure, [given[i] for i in range(len(leaves))])
        return combine(changed, at.module)(z)

    return AutodiffRows(apply, tuple(leaves[i] for i in group.leaves), at.inputs, at.outputs, group.why)
