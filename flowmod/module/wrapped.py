"""Any Equinox module as a module of flowmod, by automatic differentiation."""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from .._tree import combine, floats
from ..linalg import AutodiffRows, blocks_of
from .module import AbstractModule, Pull


class Wrapped(AbstractModule):
    """An Equinox module in the series of others; made by `fm.wrap`.

    Attributes:
        module: the Equinox module, a map of one sample.
    """

    module: eqx.Module

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        try:
            return self.module(z)  # pyright: ignore[reportCallIssue]
        except jax.errors.TracerArrayConversionError as error:
            raise ValueError(
                f"`module` {type(self.module).__name__} hands an array to NumPy, which can't be traced: write `jnp.` "
                "for `np.` in its `__call__`."
            ) from error
        except jax.errors.ConcretizationTypeError as error:
            raise ValueError(
                f"`module` {type(self.module).__name__} branches in Python on the value of an array, which is not "
                "known while JAX traces it: use `jnp.where` or `jax.lax.cond` for the two branches."
            ) from error

    def linearise(self, inputs: Float[Array, "N ..."]) -> tuple[Float[Array, "N ..."], Pull]:
        blocks = blocks_of(floats(self))
        parts = blocks.split(self)
        outputs, pull_inputs = jax.vjp(jax.vmap(self), inputs)

        def with_block(index):
            def apply(part, z):
                changed = (*parts[:index], part, *parts[index + 1 :])
                return combine(blocks.join(changed, self), self)(z)

            return apply

        def pull(costates):
            costates = costates.astype(outputs.dtype)
            factors = (AutodiffRows(with_block(i), part, inputs, costates) for i, part in enumerate(parts))
            (back,) = jax.vmap(pull_inputs, in_axes=1, out_axes=1)(costates)
            return tuple(factors), back

        return outputs, pull


def wrap(module: eqx.Module) -> AbstractModule:
    """An Equinox module as a module of flowmod: exact, with one block for each sub-module that owns float arrays.

    Its rows come from automatic differentiation, whatever it computes: use `fm.Linear` and `fm.Pointwise` where they
    do, because they need not form a row to multiply with it.

    Args:
        module: maps one sample, as Equinox modules do; without randomness in its call.

    Returns:
        A module; `.module` is the wrapped one. A module of flowmod is returned as it is.

    Raises:
        ValueError: if it is not an Equinox module that can be called, or has no float arrays; when called, if it
            branches in Python on the value of an array.

    Example:
        ```python
        net = fm.wrap(eqx.nn.MLP(64, 10, 32, depth=2, activation=jnp.tanh, key=key))
        ```
    """
    if isinstance(module, AbstractModule):
        return module
    if not isinstance(module, eqx.Module) or not callable(module):
        raise ValueError(
            f"`module` must be an Equinox module that maps one sample, got {type(module).__name__}: make your function "
            "a `eqx.Module` with a `__call__(self, z)`, or use `fm.Pointwise(fn)` if it has no parameters."
        )
    if not jax.tree.leaves(floats(module)):
        raise ValueError(f"`module` {type(module).__name__} has no float arrays: use `fm.Pointwise(module)`.")
    return Wrapped(module)
