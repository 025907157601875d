"""A function without parameters between two layers."""

from collections.abc import Callable, Hashable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from .._tree import require_arguments
from .module import AbstractModule, Pull


class Pointwise(AbstractModule):
    """`z -> fn(z)`, an activation; its derivative is taken by JAX, exact for any function of a sample.

    The function is a static field and no leaf of the state: diffrax refuses states with functions in them.

    Args:
        fn: a hashable function of a sample without parameters of its own, such as `jnp.tanh`.

    Raises:
        ValueError: if `fn` is no such function.
    """

    fn: Callable[[Any], Any] = eqx.field(static=True)

    def __init__(self, fn: Callable[[Any], Any]):
        require_arguments("fn", fn, ("z",))
        if any(eqx.is_array(leaf) for leaf in jax.tree.leaves(fn)) or not isinstance(fn, Hashable):
            raise ValueError(
                f"`fn` must be a hashable function without arrays of its own, got {type(fn).__name__}: wrap a module "
                "with parameters as `fm.wrap(module)`."
            )
        self.fn = fn

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.fn(z)

    def linearise(self, inputs: Float[Array, "N ..."]) -> tuple[Float[Array, "N ..."], Pull]:
        outputs, pull_one = jax.vjp(jax.vmap(self.fn), inputs)

        def pull(costates):
            # All rows of one kind at once: what the derivative needs of the inputs is computed once.
            (back,) = jax.vmap(pull_one, in_axes=1, out_axes=1)(costates.astype(outputs.dtype))
            return (), back

        return outputs, pull
