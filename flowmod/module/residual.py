"""A module around which its input is carried."""

from jaxtyping import Array, Float

from .module import AbstractModule, Pull, require_module


class Residual(AbstractModule):
    """`z -> z + module(z)`.

    With another shortcut than the sample itself it is `fm.Parallel((module, shortcut), join="sum")`.

    Args:
        module: maps a sample to an output of the same shape.

    Raises:
        ValueError: if it is not a module of flowmod, or its output has another shape than its sample.
    """

    module: AbstractModule

    def __check_init__(self):
        require_module("module", self.module)

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        return _added(z, self.module(z))

    def linearise(self, inputs: Float[Array, "N ..."]) -> tuple[Float[Array, "N ..."], Pull]:
        outputs, pull_module = self.module.linearise(inputs)

        def pull(costates):
            factors, back = pull_module(costates)
            return factors, back + costates.astype(back.dtype)

        return _added(inputs, outputs), pull


def _added(z: Array, change: Array) -> Array:
    if change.shape != z.shape:
        raise ValueError(
            f"`Residual` needs a module whose output has the shape of its sample, got {change.shape} for {z.shape}: "
            'use `fm.Parallel((module, shortcut), join="sum")` with a shortcut that changes the shape too.'
        )
    return z.astype(change.dtype) + change
