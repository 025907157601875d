"""A user's optimizer: made for a step size, and named where it fails."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ..._typing import Covector, Vector
from ._reference import Reference


class Optimizer(NamedTuple):
    """A name, and a function from a step size to an optax transformation."""

    name: str
    make: Callable[[Any], optax.GradientTransformation]

    def at(self, step_size: Any) -> optax.GradientTransformationExtraArgs:
        """The transformation of this step size."""
        with self.named():
            made = self.make(step_size)
        if not isinstance(made, optax.GradientTransformation):
            raise ValueError(
                f"`optimizers[{self.name!r}]` must return an optax transformation, got {type(made).__name__}: write "
                f"`lambda h: optax.sgd(h)` or `lambda h: fm.discretize(flow, h)`."
            )
        return optax.with_extra_args_support(made)

    def init(self, transformation: optax.GradientTransformation, leaves: Vector) -> Any:
        """The state at the start, every number in it an array."""
        with self.named():
            return _arrays(transformation.init(leaves))

    def update(
        self, transformation: Any, gradient: Covector, state: Any, leaves: Vector, loss: Any, reference: Reference
    ) -> tuple:
        """The updates like the leaves, and the next state like the last one: a loop's types must not change."""
        # What line searches and discretised flows of Equinox modules ask for; the others take no notice.
        extra = {"value": loss, "grad": gradient, "value_fn": reference.loss_at, "static": reference.static}
        with self.named():
            updates, after = transformation.update(gradient, state, leaves, **extra)
            return _like(updates, leaves), _like(_arrays(after), state)

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Errors from here carry the optimizer's name."""
        try:
            # optax adds integers to floats, which a caller's strict rules would forbid.
            with jax.numpy_dtype_promotion("standard"):
                yield
        except jax.errors.JAXTypeError as error:
            raise ValueError(
                f"`optimizers[{self.name!r}]` looks at the value of its step size or state, which is traced, because "
                "one program serves all step sizes: use `jax.numpy` functions on it, such as `jnp.where` for `if`."
            ) from error
        except Exception as error:
            line = str(error).partition("\n")[0]
            raise ValueError(f"`optimizers[{self.name!r}]` failed with {type(error).__name__}: {line}") from error


def _arrays(state: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if eqx.is_array_like(leaf) else leaf, state)


def _like(tree: Any, like: Any) -> Any:
    return jax.tree.map(lambda old, new: new.astype(old.dtype) if eqx.is_array(old) else old, like, tree)
