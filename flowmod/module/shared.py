"""The same layer several times in series, with one set of parameters."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..linalg import AbstractRows, DenseRows, KhatriRaoRows, PositionRows, RepeatedRows, SummedRows
from ._checks import require_sizes
from .module import AbstractModule, Pull, require_module
from .repeated import like_outputs, without_functions


class Shared(AbstractModule):
    """A module applied several times in series, always with the same parameters; compiled once.

    The rows of its blocks are sums over the applications.

    Args:
        module: a sample and an output have the same shape.
        times: how often it is applied.

    Raises:
        ValueError: if it is not a module of flowmod or changes the shape of a sample, or `times` is not a positive
            integer.
    """

    module: AbstractModule
    times: int = eqx.field(static=True)

    def __check_init__(self):
        require_module("module", self.module)
        require_sizes(times=self.times)

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        z = like_outputs("Shared", self.module, z)
        return jax.lax.scan(lambda z, _: (self.module(z), None), z, length=self.times)[0]

    def linearise(self, inputs: Float[Array, "N ..."]) -> tuple[Float[Array, "N ..."], Pull]:
        def forward(z, _):
            return jax.vmap(self.module)(z), z

        def backward(costates, z):
            factors, back = self.module.linearise(z)[1](costates)
            return back, tuple(map(without_functions, factors))

        first = jax.vmap(lambda z: like_outputs("Shared", self.module, z))(inputs)
        outputs, between = jax.lax.scan(forward, first, length=self.times)

        def pull(costates):
            back, factors = jax.lax.scan(backward, costates, between, reverse=True)
            return tuple(map(_summed, factors)), back

        return outputs, pull


def _summed(factor: AbstractRows) -> AbstractRows:
    """The sum of the factors that lie along the first axis of a factor's arrays."""
    match factor:
        case DenseRows():
            return DenseRows(jnp.sum(factor.matrix, axis=0), factor.shapes)
        case KhatriRaoRows():
            costates, inputs = jnp.moveaxis(factor.costates, 0, 2), jnp.moveaxis(factor.inputs, 0, 1)
            return PositionRows(costates, inputs, factor.has_bias)
        case RepeatedRows():
            return RepeatedRows(jax.vmap(_summed, in_axes=1)(factor.each))
        case _:
            times = jax.tree.leaves(factor)[0].shape[0]
            return SummedRows(tuple(jax.tree.map(lambda leaf, t=t: leaf[t], factor) for t in range(times)))
