"""Which leaf of a module got rows of which kind: where a metric's cost comes from."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from .._tree import floats, label_of
from ..linalg import (
    AbstractRows,
    ArrangedRows,
    AutodiffRows,
    DenseRows,
    JoinedRows,
    KhatriRaoRows,
    LookupRows,
    PositionRows,
    RepeatedRows,
    SummedRows,
    blocks_of,
)


class PlannedLeaf(NamedTuple):
    """One leaf of a plan.

    Attributes:
        block: the path of the block, which has one row factor.
        leaf: the path of the leaf in it.
        shape: its shape.
        kind: `"outer product"`, `"sum over 36 positions"`, `"lookup at 12 positions"`, `"short rows"`, or what else its
            rows are; what is `"generic"` is taken from automatic differentiation and costs most.
    """

    block: str
    leaf: str
    shape: tuple[int, ...]
    kind: str


class Plan(NamedTuple):
    """The kinds of rows of all leaves of a module; printed as a table.

    Attributes:
        rows: one for each leaf, block by block.
    """

    rows: tuple[PlannedLeaf, ...]

    def __str__(self) -> str:
        cells = [("block", "leaf", "shape", "rows"), *((r.block, r.leaf, str(r.shape), r.kind) for r in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def plan_of(module: Any, sample: Any) -> Plan:
    """The plan of a module for samples like this one; nothing is computed but shapes.

    Args:
        module: a module of flowmod.
        sample: one sample, or a `jax.ShapeDtypeStruct` like one.
    """
    kinds: list[tuple[str, ...]] = []

    def look(module, inputs):
        outputs, pull = module.linearise(inputs)
        factors, _ = pull(jnp.ones((1, 1, *outputs.shape[1:]), outputs.dtype))
        kinds.extend(map(_kinds, factors))

    dtype = sample.dtype if hasattr(sample, "dtype") else jnp.result_type(sample)
    eqx.filter_eval_shape(look, module, jax.ShapeDtypeStruct((1, *jnp.shape(sample)), dtype))
    leaves = jax.tree.leaves_with_path(floats(module))
    blocks = blocks_of(floats(module))
    return Plan(
        tuple(
            PlannedLeaf(name, label_of(path).removeprefix(f"{name}."), leaf.shape, kind)
            for name, block, own in zip(blocks.names, blocks.split_leaves(leaves), kinds, strict=True)
            for (path, leaf), kind in zip(block, own, strict=True)
        )
    )


def _kinds(rows: AbstractRows) -> tuple[str, ...]:
    """The kind of rows of each leaf of a block."""
    match rows:
        case ArrangedRows():
            inner = _kinds(rows.rows)
            return tuple(inner[layout.source] for layout in rows.layouts)
        case JoinedRows():
            return tuple(kind for factor in rows.factors for kind in _kinds(factor))
        case RepeatedRows():
            one = jax.tree.map(lambda leaf: leaf[0], rows.each)
            return tuple(f"{kind}, in each of {rows.depth} layers" for kind in _kinds(one))
        case SummedRows():
            uses = zip(*map(_kinds, rows.uses), strict=True)
            return tuple(f"sum of {len(kinds)} uses: {', '.join(kinds)}" for kinds in uses)
        case _:
            return (_kind(rows),) * len(rows.shapes)


def _kind(rows: AbstractRows) -> str:
    match rows:
        case KhatriRaoRows():
            return "outer product"
        case PositionRows():
            return f"sum over {rows.inputs.shape[1]} positions"
        case LookupRows():
            return f"lookup at {rows.indices.shape[1]} position{'s' if rows.indices.shape[1] > 1 else ''}"
        case DenseRows():
            return "short rows"
        case AutodiffRows():
            return f"generic: {rows.why}"
        case _:
            return type(rows).__name__
