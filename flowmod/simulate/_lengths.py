"""Metric lengths of tangent vectors: of the whole, or of what they have in each module or leaf."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._tree import floats
from .._typing import Args, State, Vector
from ..flow import AbstractFlow
from ..linalg import Blocks
from ..metric import Euclidean
from ..module import modules_of

BY = ("state", "module", "leaf")
"""What one length is of."""


def require_by(by: Any) -> None:
    if by not in BY:
        raise ValueError(f"`by` must be one of {', '.join(BY)}, got {by!r}.")


def lengths(flow: AbstractFlow, by: str, t: Any, y: State, vectors: list[Vector], args: Args) -> Float[Array, "V B"]:
    """`|v_b|_M(y)` of each vector and block: products with the metric only.

    A block's length is that of the vector with zeros elsewhere, so that it is that of the diagonal block of `M` whether
    or not `M` couples blocks. Of a second-order flow position and velocity are blocks of their own: one is [state], the
    other [state] / time.

    Args:
        flow: the flow, whose metric it is; Euclidean if it has none.
        by: one of `BY`.
        t: time.
        y: the state.
        vectors: tangent vectors at `y`, trees like the state.
        args: handed to the metric.
    """
    place = flow.position(y)
    metric = Euclidean() if flow.metric is None else flow.metric.at(t)
    owner = _owner_of_leaves(by, place)
    structure = jax.tree.structure(floats(place))

    def length(block, part):
        cut = [jnp.where(of == block, leaf, 0) for of, leaf in zip(owner, jax.tree.leaves(part), strict=True)]
        return metric.norm(place, jax.tree.unflatten(structure, cut), args)

    # One product with many vectors: the factors of a metric do not depend on them, so that they are made once.
    of_blocks = jax.vmap(jax.vmap(length, (0, None)), (None, 0))
    parts = zip(*(_parts(flow, y, vector) for vector in vectors), strict=True)
    stacked = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *part) for part in parts]
    return jnp.concatenate([of_blocks(jnp.arange(max(owner) + 1), part) for part in stacked], axis=1)


def _owner_of_leaves(by: str, place: State) -> list[int]:
    """For each float leaf the index of its block."""
    count = len(jax.tree.leaves(floats(place)))
    if by == "module":
        blocks: Blocks = modules_of(place)
        owner = {leaf: index for index, block in enumerate(blocks.leaves) for leaf in block}
        return [owner[leaf] for leaf in range(count)]
    return list(range(count)) if by == "leaf" else [0] * count


def _parts(flow: AbstractFlow, y: State, vector: Vector) -> list[PyTree]:
    """The tangent vectors of the position that a tangent vector of the state is made of."""
    like = jax.tree.structure(floats(flow.position(y)))
    parts = [floats(part) for part in ([vector] if jax.tree.structure(floats(vector)) == like else vector)]
    if any(jax.tree.structure(part) != like for part in parts):
        raise ValueError(
            f"The metric of {type(flow).__name__} measures vectors like its position, {like}, and the state has other "
            "parts."
        )
    return parts
