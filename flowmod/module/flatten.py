"""A sample of any shape as a vector."""

from jaxtyping import Array, Float

from .module import AbstractModule


class Flatten(AbstractModule):
    """The numbers of a sample in one row, its last axis fastest: what a `fm.Linear` after a convolution needs."""

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, " n"]:
        return z.ravel()
