"""A user's optimizers: a function from numbers to an optax transformation, named where it fails."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from .._tree import combine, floats, is_float_array
from .._typing import Args, Potential, State
from ..metric import value_and_covector


class Family(NamedTuple):
    """Optimizers of one kind, and the loss that they are for.

    Attributes:
        argument: the name under which the user gave `make`.
        make: a function from numbers, which may be traced, to an optax transformation.
        potential: the loss.
        args: what the loss is handed.
    """

    argument: str
    make: Callable[..., optax.GradientTransformation]
    potential: Potential
    args: Args

    def at(self, *numbers: Any) -> optax.GradientTransformationExtraArgs:
        """The optimizer of these numbers."""
        return optax.with_extra_args_support(made_by(self.argument, self.make, *numbers))

    def init(self, optimizer: optax.GradientTransformation, y: State) -> Any:
        """The optimizer's state at the start, every number in it an array."""
        with named(self.argument):
            return arrays(optimizer.init(floats(y)))

    def step(self, optimizer: Any, y: State, state: Any) -> tuple[State, Any, Float[Array, ""]]:
        """The next iterate and the optimizer's next state, of the types of the last, and the loss before the step."""
        loss, gradient = value_and_covector(self.potential, y, self.args)
        leaves, static = eqx.partition(y, is_float_array)
        # What line searches and discretised flows of Equinox modules ask for; the others take no notice.
        extra = {
            "value": loss,
            "grad": gradient,
            "value_fn": lambda moved, static=None: self.potential(combine(moved, y), self.args),
            "static": static,
        }
        with named(self.argument):
            updates, after = optimizer.update(gradient, state, leaves, **extra)
            moved = jax.tree.map(lambda leaf, update: leaf + update.astype(leaf.dtype), leaves, updates)
            return combine(moved, y), like(arrays(after), state), loss


def made_by(argument: str, make: Callable, *numbers: Any) -> Any:
    """What a user's function makes of these numbers, an optax transformation.

    Raises:
        ValueError: if it fails, or makes something else; the error has its name.
    """
    with named(argument):
        made = make(*numbers)
    if isinstance(made, optax.MultiSteps):
        made = made.gradient_transformation()
    if not isinstance(made, optax.GradientTransformation):
        raise ValueError(
            f"`{argument}` must return an optax transformation, got {type(made).__name__}: return "
            "`fm.discretize(flow, step_size)` or `optax.sgd(step_size)`."
        )
    return made


@contextlib.contextmanager
def named(argument: str) -> Iterator[None]:
    """Errors from here carry the name of what the user gave."""
    try:
        # optax adds integers to floats, which a caller's strict rules would forbid.
        with jax.numpy_dtype_promotion("standard"):
            yield
    except jax.errors.JAXTypeError as error:
        raise ValueError(
            f"`{argument}` looks at the value of its numbers or state, which are traced, because one program serves "
            "all of them. In a function of yours write `jnp.where` for `if`. Some schedules of optax look at their "
            "peak: give them the peak 1 and the optimizer the step size, `optax.chain(optax.adam(h), "
            "optax.scale_by_schedule(optax.warmup_cosine_decay_schedule(0.0, 1.0, 10, 100)))`."
        ) from error
    except Exception as error:
        line = str(error).partition("\n")[0]
        raise ValueError(f"`{argument}` failed with {type(error).__name__}: {line}") from error


def arrays(state: Any) -> Any:
    """An optimizer's state with every number in it as an array."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if eqx.is_array_like(leaf) else leaf, state)


def like(tree: Any, other: Any) -> Any:
    """A tree whose arrays have the types of another's: a loop's types must not change."""
    return jax.tree.map(lambda old, new: new.astype(old.dtype) if eqx.is_array(old) else old, other, tree)
