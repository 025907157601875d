"""Modules side by side: the same sample through each of them."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._tree import dtype_of, is_float_array
from .module import AbstractModule, Pull, require_module

JOINS = ("concatenate", "sum")


class Parallel(AbstractModule):
    """The same sample through several modules, and their outputs joined.

    Args:
        branches: the modules.
        join: `"concatenate"`, along `axis`; or `"sum"`.
        axis: of an output; the channels of an image are its axis 0.

    Raises:
        ValueError: if a branch is not a module of flowmod, `join` is another word, or the outputs can't be joined.

    Example:
        ```python
        fm.Parallel((fm.Linear(4, 3, key=k1), fm.Linear(4, 2, key=k2)))  # (4,) -> (5,)
        ```
    """

    branches: tuple[AbstractModule, ...]
    join: str = eqx.field(static=True)
    axis: int = eqx.field(static=True)

    def __init__(self, branches: Sequence[AbstractModule], join: str = "concatenate", axis: int = -1):
        if not isinstance(branches, tuple | list) or not branches:
            raise ValueError(f"`branches` must be a tuple of modules, got {branches!r}.")
        for branch in branches:
            require_module("branches", branch)
        if join not in JOINS:
            raise ValueError(f"`join` must be one of {', '.join(JOINS)}, got {join!r}.")
        self.branches, self.join, self.axis = tuple(branches), join, axis

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        return self._joined(*(branch(z) for branch in self.branches))

    def linearise(self, inputs: Float[Array, "N ..."]) -> tuple[Float[Array, "N ..."], Pull]:
        outputs, pulls = zip(*(branch.linearise(inputs) for branch in self.branches), strict=True)
        joined, pull_join = jax.vjp(jax.vmap(self._joined), *outputs)

        def pull(costates):
            parts = jax.vmap(pull_join, in_axes=1, out_axes=1)(costates)
            factors, backs = zip(*(pull(part) for pull, part in zip(pulls, parts, strict=True)), strict=True)
            return sum(factors, ()), _sum(backs)

        return joined, pull

    def _joined(self, *outputs: Array) -> Array:
        shapes = [output.shape for output in outputs]
        outputs = tuple(output.astype(dtype_of(outputs)) for output in outputs)
        try:
            return jnp.concatenate(outputs, self.axis) if self.join == "concatenate" else jnp.sum(jnp.stack(outputs), 0)
        except (TypeError, ValueError) as error:
            needs = f"equal shapes but for axis {self.axis}" if self.join == "concatenate" else "equal shapes"
            raise ValueError(
                f"`Parallel` needs branches whose outputs have {needs} to {self.join} them, got {shapes}."
            ) from error


def _sum(costates: Sequence[Any]) -> Any:
    """What comes back from all branches; whole numbers have no costates."""
    costates = [costate for costate in costates if is_float_array(costate)]
    return jnp.sum(jnp.stack(_alike(costates)), axis=0) if costates else None


def _alike(arrays: Sequence[Array]) -> list[Array]:
    """Arrays in the narrowest precision among them, because no result is better than it."""
    return [array.astype(dtype_of(arrays)) for array in arrays]
