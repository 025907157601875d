"""What layers ask of their sizes and of the shape of a sample."""

from typing import Any

import numpy as np


def require_sizes(**sizes: Any) -> None:
    """Raise a `ValueError` that names the first argument that is not a positive integer."""
    for name, size in sizes.items():
        if not isinstance(size, int | np.integer) or isinstance(size, bool) or size <= 0:
            raise ValueError(f"`{name}` must be a positive integer, got {size!r}.")


def sizes_along(name: str, sizes: Any, axes: int) -> tuple[int, ...]:
    """A size for each axis; one integer is that of all axes."""
    along = tuple(sizes) if isinstance(sizes, tuple | list) else (sizes,) * axes
    if len(along) != axes:
        raise ValueError(f"`{name}` must be an integer, or one for each of {axes} axes, got {sizes!r}.")
    for size in along:
        require_sizes(**{name: size})
    return along


def require_sample(fits: bool, layer: str, wanted: str, shape: tuple[int, ...]) -> None:
    """Raise a `ValueError` unless a sample fits the layer."""
    if not fits:
        raise ValueError(
            f"`{layer}` needs samples of shape {wanted}, got {shape}: reshape them, or make the layer for their shape."
        )
