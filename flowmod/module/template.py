"""A module without its parameters: what a potential or a metric keeps of the module it was made for."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from .._tree import combine, floats
from .._typing import State
from .module import AbstractModule


@dataclasses.dataclass(frozen=True)
class _Parameter:
    """Stands where an array was. Not a `jax.ShapeDtypeStruct`: those turn into arrays wherever shapes are evaluated."""

    shape: tuple[int, ...]

    def __str__(self) -> str:
        return str(self.shape)


def template_of(module: AbstractModule) -> PyTree:
    """The module with shapes in the places of its parameters; a template is its own."""
    return combine(jax.tree.map(lambda leaf: _Parameter(leaf.shape), floats(module)), module)


def shapes_of(template: PyTree) -> PyTree:
    """The shapes of a template's parameters (leaves with a `.shape`), `None` elsewhere."""
    return eqx.filter(template, _is_parameter)


def complete(template: PyTree, params: State) -> AbstractModule:
    """The module that has these parameters.

    Raises:
        ValueError: if they are the parameters of another module.
    """
    given = floats(params)
    if template_of(given) != shapes_of(template):
        if jax.tree.leaves(template_of(given)) == jax.tree.leaves(shapes_of(template)):
            name = type(template).__name__
            wanted = f"`params` must be the {name} that this potential or metric was made for, got"
            if type(params) is type(template):
                raise ValueError(
                    f"{wanted} a {name} with other parts that are not trained: use the module that the problem was "
                    "made for, because functions and frozen arrays must be the very same, not only equal."
                )
            raise ValueError(
                f"{wanted} a {type(params).__name__} with arrays of the same shapes: pass `fm.wrap(model)` if it was "
                "wrapped."
            )
        raise ValueError(
            "`params` must be the parameters of the module that this potential or metric was made for, of shapes "
            f"{_listed(shapes_of(template))}, got {_listed(template_of(given))}: make it anew for another module."
        )
    return combine(given, eqx.filter(template, _is_parameter, inverse=True))


def _is_parameter(leaf: Any) -> bool:
    return isinstance(leaf, _Parameter)


def _listed(shapes: PyTree) -> str:
    return ", ".join(map(str, jax.tree.leaves(shapes))) or "none"
