"""Equal layers, one after the other, as one layer with stacked parameters."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._tree import floats
from ..linalg import AbstractRows, DenseRows, RepeatedRows
from .module import AbstractModule, Pull, require_module


class Repeated(AbstractModule):
    """Layers of equal structure in series, each with parameters of its own: compiled once, however many there are.

    It computes what the series of them does, and has the same metric. Each layer is computed twice for a
    linearisation, because only the sample between layers is kept.

    Args:
        layers: equal modules; a sample and an output have the same shape.

    Attributes:
        module: one module, whose arrays have a first axis for the layers.

    Raises:
        ValueError: if the layers differ in more than the values of their parameters, have none, or change the shape of
            a sample.

    Example:
        ```python
        layers = [fm.Linear(64, 64, key=key) >> fm.Pointwise(jnp.tanh) for key in jax.random.split(key, 32)]
        net = fm.Repeated(layers) >> fm.Linear(64, 10, key=last)
        ```
    """

    module: AbstractModule

    def __init__(self, layers: Sequence[AbstractModule]):
        if not isinstance(layers, tuple | list) or not layers:
            raise ValueError(f"`layers` must be a list of modules, got {layers!r}.")
        for layer in layers:
            require_module("layers", layer)
        if any(map(_is_repeated, jax.tree.leaves(layers, is_leaf=_is_repeated))):
            raise ValueError("`layers` must not hold a `fm.Repeated`: give one list of all the layers.")
        arrays, rest = zip(*(eqx.partition(layer, eqx.is_array) for layer in layers), strict=True)
        if not jax.tree.leaves(floats(arrays[0])):
            raise ValueError("`layers` must have parameters, float arrays, to be repeated: they have none.")
        shapes = [(jax.tree.structure(one), [leaf.shape for leaf in jax.tree.leaves(one)]) for one in arrays]
        for index, layer in enumerate(layers):
            if shapes[index] != shapes[0] or not eqx.tree_equal(rest[index], rest[0]):
                raise ValueError(f"`layers` must be equal but for their numbers, but {index} differs from 0: {layer}.")
        self.module = eqx.combine(jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays), rest[0])

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        arrays, rest = eqx.partition(self.module, eqx.is_array)
        return jax.lax.scan(lambda z, one: (eqx.combine(one, rest)(z), None), self._like_outputs(z), arrays)[0]

    def linearise(self, inputs: Float[Array, "N ..."]) -> tuple[Float[Array, "N ..."], Pull]:
        arrays, rest = eqx.partition(self.module, eqx.is_array)

        def forward(z, one):
            return jax.vmap(eqx.combine(one, rest))(z), z

        def backward(costates, layer):
            one, z = layer
            factors, back = eqx.combine(one, rest).linearise(z)[1](costates)
            return back, tuple(map(without_functions, factors))

        outputs, between = jax.lax.scan(forward, jax.vmap(self._like_outputs)(inputs), arrays)

        def pull(costates):
            back, factors = jax.lax.scan(backward, costates, (arrays, between), reverse=True)
            return tuple(map(RepeatedRows, factors)), back

        return outputs, pull

    def _like_outputs(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        arrays, rest = eqx.partition(self.module, eqx.is_array)
        first = eqx.combine(jax.tree.map(lambda leaf: leaf[0], arrays), rest)
        return like_outputs("Repeated", first, z)


def like_outputs(name: str, layer: AbstractModule, z: Float[Array, "..."]) -> Float[Array, "..."]:
    """The sample in the precision of the layer's outputs, which have to have its shape."""
    output = eqx.filter_eval_shape(layer, z)
    if output.shape != z.shape:
        raise ValueError(
            f"`{name}` needs layers whose outputs have the shape of their samples, got {output.shape} for {z.shape}: "
            "put a layer that changes the shape before or after it."
        )
    return z.astype(output.dtype)


def _is_repeated(node: Any) -> bool:
    return isinstance(node, Repeated)


def without_functions(factor: AbstractRows) -> AbstractRows:
    """A factor of arrays alone, which can leave a loop."""
    if all(map(eqx.is_array, jax.tree.leaves(factor))):
        return factor
    return DenseRows(factor.to_dense().reshape(*factor.row_shape, -1), factor.shapes)
