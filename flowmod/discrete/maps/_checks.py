"""Input of maps: made into arrays, or refused with the argument, the value and the cure."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import dot, require_arguments
from ..._typing import Args, Potential, State
from ...metric import value_and_covector
from ._source import source_of


def check_axis(other: Mapping[str, Any]) -> tuple[str, np.ndarray]:
    """Name and values of the one other number."""
    taken = {"step_size", "fate", "period", "loss", "growth", "predicted_limit"}
    if len(other) != 1 or not taken.isdisjoint(other):
        given = ", ".join(other) or "nothing"
        raise ValueError(
            "`stability_map` takes the values of one other number by its name, `momentum=[0.0, 0.5, 0.9]`, got "
            f"{given}."
        )
    [(name, values)] = other.items()
    array = np.asarray(values if np.ndim(values) == 1 else None)
    if array.dtype.kind not in "iuf" or not array.size or not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be a one-dimensional array of finite numbers, got {values!r}.")
    return name, array


def check_count(argument: str, count: Any, least: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < least:
        raise ValueError(f"`{argument}` must be a whole number of at least {least}, got {count!r}.")
    return int(count)


def require_scalar(argument: str, fn: Any, y0: State, args: Args) -> None:
    """Raise a `ValueError` unless `fn(y, args)` is a number at the start."""
    require_arguments(argument, fn, ("y", "args"))
    value = fn(y0, args)
    if not eqx.is_array_like(value) or np.shape(value) != ():
        shape = f"an array of shape {np.shape(value)}" if eqx.is_array_like(value) else repr(value)
        raise ValueError(f"`{argument}` must return a number, got {shape}: pick one, as by `y[0]`.")


def potential_of(argument: str, made: Any) -> Potential:
    """The loss behind an optimizer that was made from a flow or a problem."""
    potential = source_of(made).potential
    if potential is None:
        raise ValueError(
            f"`potential` must be given, the loss of the runs: what `{argument}` returns, {type(made).__name__}, does "
            "not say which it is for; `fm.discretize` and `fm.minibatch` do."
        )
    return potential


def loss_at_start(potential: Potential, y0: State, args: Args) -> float:
    """The loss at the start, which must be one that is left."""
    require_arguments("potential", potential, ("y", "args"))
    loss, gradient = jax.jit(lambda y: value_and_covector(potential, y, args))(y0)
    slope = float(jnp.sqrt(dot(gradient, gradient)))
    if not (np.isfinite(float(loss)) and np.isfinite(slope)):
        raise ValueError(
            f"`y0` must have a finite loss and gradient, got {float(loss):g} and {slope:g}: start elsewhere."
        )
    if slope == 0:
        raise ValueError("`y0` is a critical point, which no optimizer leaves: displace it a little.")
    return float(loss)
