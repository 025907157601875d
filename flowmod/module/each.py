"""The same module at every position of a sample."""

import jax
from jaxtyping import Array, Float

from .module import AbstractModule, require_module


class Each(AbstractModule):
    """A module applied to each entry of a sample's first axis, such as the tokens of a text; one set of parameters.

    Args:
        module: maps one entry.

    Raises:
        ValueError: if it is not a module of flowmod, or a sample is a single number.
    """

    module: AbstractModule

    def __check_init__(self):
        require_module("module", self.module)

    def __call__(self, z: Float[Array, "S ..."]) -> Float[Array, "S ..."]:
        if z.ndim == 0:
            raise ValueError("`Each` needs samples with a first axis to go along, got single numbers.")
        return jax.vmap(self.module)(z)
