"""Any Equinox module as a module of flowmod, with the row factors that its trace shows."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._tree import floats, is_float_array, is_traced
from .module import AbstractModule


class _Frozen:
    """Arrays that are no parameters, in a static field: the same if they are the very same arrays."""

    def __init__(self, arrays: PyTree):
        self.arrays = arrays
        leaves, self._structure = jax.tree.flatten(arrays)
        self._identities = tuple(map(id, leaves))

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Frozen) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self):
        return self._identities, self._structure


class Wrapped(AbstractModule):
    """An Equinox module in the series of others; made by `fm.wrap`.

    Attributes:
        module: the Equinox module, a map of one sample; `None` stands in the places of frozen arrays.
        frozen: the frozen arrays.
    """

    module: eqx.Module
    frozen: _Frozen = eqx.field(static=True)

    @property
    def whole(self) -> eqx.Module:
        """The Equinox module with its frozen arrays."""
        return eqx.combine(self.module, self.frozen.arrays)

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        name = type(self.module).__name__
        try:
            output = self.whole(z)  # pyright: ignore[reportCallIssue]
        except jax.errors.TracerArrayConversionError as error:
            raise ValueError(
                f"`module` {name} hands an array to NumPy, which can't be traced: write `jnp.` for `np.` in its "
                "`__call__`."
            ) from error
        except jax.errors.ConcretizationTypeError as error:
            raise ValueError(
                f"`module` {name} branches in Python on the value of an array, which is not known while JAX "
                "traces it: use `jnp.where` or `jax.lax.cond` for the two branches."
            ) from error
        except jax.errors.NonConcreteBooleanIndexError as error:
            raise ValueError(
                f"`module` {name} picks the entries of an array by a mask, as in `z[z > 0]`, whose number is not known "
                "while JAX traces it: keep the shape with `jnp.where(z > 0, z, 0)`."
            ) from error
        except (TypeError, ValueError) as error:
            if str(error).startswith("`"):  # it names the argument that is wrong
                raise
            why = str(error).partition("\n")[0].rstrip(".")
            raise ValueError(
                f"`module` {name} can't map a sample of shape {jnp.shape(z)} ({why}): samples must have the shape "
                "that the module was made for, without the axis of the batch."
            ) from error
        if not eqx.is_array(output):
            raise ValueError(
                f"`module` must return one array per sample, got {type(output).__name__} from {name}: return what the "
                "loss or the next layer needs."
            )
        return output


def wrap(module: eqx.Module, frozen: Callable[[Any], Any] | None = None) -> AbstractModule:
    """An Equinox module as a module of flowmod: exact, with one block for each sub-module that owns float arrays.

    What its parameters are used for is found by tracing it. Weights of linear layers, convolutions and embeddings
    have structured row factors, however they are called and stored; short leaves such as biases and gains have their
    rows as they are; what else there is, as a weight inside of a `jax.lax.scan`, is taken from automatic
    differentiation. `.plan(sample)` prints which leaf got what.

    Args:
        module: maps one sample, as Equinox modules do; without randomness in its call.
        frozen: the parts of a module that are not trained, as in `lambda model: (model.layers[0], model.scale)`.

    Returns:
        A module; `.whole` is the Equinox module. A module of flowmod is returned as it is if nothing is frozen. Frozen
        arrays are told apart by identity: save and load `.whole`, wrap it anew, and make the problem anew for it.

    Raises:
        ValueError: if it is not an Equinox module that can be called, has dropout, keeps a state, or has no float
            arrays but frozen ones; when called, if it does not fit the sample, does not return one array, or branches
            in Python on the value of an array.

    Example:
        ```python
        net = fm.wrap(eqx.nn.MLP(64, 10, 32, depth=2, activation=jnp.tanh, key=key))
        print(net.plan(images[0]))
        ```
    """
    if isinstance(module, AbstractModule) and frozen is None:
        return module
    if not isinstance(module, eqx.Module) or not callable(module):
        raise ValueError(
            f"`module` must be an Equinox module that maps one sample, got {type(module).__name__}: make your function "
            "a `eqx.Module` with a `__call__(self, z)`, or use `fm.Pointwise(fn)` if it has no parameters."
        )
    _require_function(module)
    held = eqx.filter(module, jax.tree.map(lambda _: False, module))
    if frozen is not None:
        held = _held(module, frozen)
    trained = eqx.filter(module, jax.tree.map(lambda leaf: leaf is None, held, is_leaf=_is_none))
    if not jax.tree.leaves(floats(trained)):
        if jax.tree.leaves(floats(module)):
            raise ValueError(f"`frozen` leaves nothing to train of {type(module).__name__}: pick fewer of its parts.")
        raise ValueError(f"`module` {type(module).__name__} has no float arrays: use `fm.Pointwise(module)`.")
    return Wrapped(trained, _Frozen(held))


def _held(module: eqx.Module, frozen: Callable[[Any], Any]) -> PyTree:
    """The float arrays of the chosen parts; `None` elsewhere."""
    if not callable(frozen):
        raise ValueError(f"`frozen` must be a function that picks parts of the module, got {type(frozen).__name__}.")
    free = jax.tree.map(lambda _: False, module)
    chosen = eqx.tree_at(frozen, free, replace_fn=lambda part: jax.tree.map(lambda _: True, part))
    held = eqx.filter(eqx.filter(module, chosen), is_float_array)
    if is_traced(held):
        raise ValueError("`frozen` parts must be known numbers: wrap the module outside of `jax.jit` and the like.")
    return held


def _require_function(module: eqx.Module) -> None:
    """Raise a `ValueError` if the output is not a function of the parameters and the sample alone."""
    special = (eqx.nn.Dropout, eqx.nn.StateIndex)
    for part in jax.tree.leaves(module, is_leaf=lambda node: isinstance(node, special)):
        if isinstance(part, eqx.nn.StateIndex):
            raise ValueError(
                f"`module` {type(module).__name__} keeps a state from call to call, as `eqx.nn.BatchNorm` does, but "
                "must be a function of its parameters and one sample: use `eqx.nn.GroupNorm` or `eqx.nn.LayerNorm`."
            )
        if (
            isinstance(part, eqx.nn.Dropout)
            and not part.inference
            and not (isinstance(part.p, int | float) and part.p == 0)
        ):
            raise ValueError(
                f"`module` {type(module).__name__} drops numbers at random, but must be a function of its parameters "
                "and one sample: wrap `eqx.nn.inference_mode(module)`."
            )


def _is_none(node: Any) -> bool:
    return node is None
