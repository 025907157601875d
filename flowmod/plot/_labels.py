"""Names for the numbers of a state, as axes and legends show them."""

import jax
import numpy as np
from jaxtyping import PyTree

from .._tree import floats, label_of
from ..flow import Units


def number_labels(state: PyTree, units: Units, lead: int = 0) -> list[tuple[str, str | None]]:
    """Name and unit of every number of a state, in `ravel_pytree` order: `u`, `layers.0.bias[2]`, `y[0]`.

    Args:
        state: the state, with `lead` more axes in front of every leaf.
        units: pairs of a label and a unit; a leaf's unit is that of all its numbers.
        lead: how many leading axes do not belong to the state.
    """
    known = dict(units)
    return [
        (_name(label_of(path), index), known.get(label_of(path) or "y"))
        for path, leaf in jax.tree.leaves_with_path(floats(state))
        for index in np.ndindex(np.shape(leaf)[lead:])
    ]


def _name(label: str, index: tuple[int, ...]) -> str:
    # The first key of a tuple or a list is a bare number, which says nothing beside an axis.
    head, _, rest = label.partition(".")
    if not head or head.isdigit():
        label = "y" + (f"[{head}]" if head else "") + (f".{rest}" if rest else "")
    return label + (f"[{','.join(map(str, index))}]" if index else "")
