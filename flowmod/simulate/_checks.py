"""Input of a run: made into arrays, or refused with the argument, the value and the cure."""

import math
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from .._tree import as_state, is_float_array, is_traced, label_of, require_arguments

_PRECISIONS = (np.dtype("float64"), np.dtype("float32"))


def check_state(argument: str, y: PyTree) -> tuple[list, Any]:
    """The state's leaves and structure; float leaves as NumPy arrays unless they are traced.

    Leaves inside Equinox modules that are no float arrays stay what they are.
    """
    leaves, structure = jax.tree.flatten(y)
    floats = [index for index, leaf in enumerate(leaves) if is_float_array(leaf)]
    if len(floats) < len(leaves):
        leaves, structure = jax.tree.flatten(as_state(argument, y))
        floats = [index for index, leaf in enumerate(leaves) if is_float_array(leaf)]
    if not sum(leaves[index].size for index in floats):
        raise ValueError(f"`{argument}` must hold at least one float array with an entry, got {y!r}.")
    for index in floats:
        if leaves[index].dtype not in _PRECISIONS:
            dtype, where = leaves[index].dtype, _place(leaves, structure, index)
            raise ValueError(f"`{argument}` must be float32 or float64, got {dtype}{where}: convert it first.")
        if isinstance(leaves[index], Tracer):
            continue
        # Where double precision is off, a double NumPy array is a single one to JAX.
        leaves[index] = np.asarray(leaves[index], dtype=jax.dtypes.canonicalize_dtype(leaves[index].dtype))
        if not np.isfinite(leaves[index]).all():
            where = _place(leaves, structure, index)
            raise ValueError(f"`{argument}` must be finite, got {leaves[index]}{where}.")
    return leaves, structure


def _place(leaves: list, structure: Any, index: int) -> str:
    path = jax.tree.leaves_with_path(jax.tree.unflatten(structure, leaves))[index][0]
    return f" at '{label_of(path)}'" if path else ""


def check_times(times: tuple, dtype: np.dtype) -> tuple[Any, Any, Any]:
    """Start, end and saved times in the state's precision: diffrax would widen a float32 state to that of times."""
    t0, t1, ts = times
    ts = None if ts is None else _check_saved_times(ts)
    t1 = ts[-1] if t1 is None and ts is not None else t1
    if t1 is None:
        raise ValueError("`t1` must be given: the time at which the run ends.")
    as_time = jnp.asarray if is_traced(t0, t1, ts) else np.asarray
    if not is_traced(t0, t1):
        for name, time in (("t0", t0), ("t1", t1)):
            require_number(name, time)
    t0, t1, ts = as_time(t0, dtype), as_time(t1, dtype), None if ts is None else as_time(ts, dtype)
    # Compared in the state's precision: in float32 a short run at a late time has no length.
    if not is_traced(t0, t1) and not (math.isfinite(t0) and math.isfinite(t1) and t0 < t1):
        raise ValueError(
            f"`t1` must be a finite time after `t0`, got t0 = {t0} and t1 = {t1} in {dtype}. To run backwards, reverse "
            "the field's sign."
        )
    if ts is not None and not is_traced(t0, t1, ts) and (ts[0] < t0 or ts[-1] > t1):
        raise ValueError(f"`ts` must lie between t0 = {t0} and t1 = {t1}, got {ts[0]} to {ts[-1]}.")
    return t0, t1, ts


def _check_saved_times(ts: Any) -> Any:
    if is_traced(ts):
        ts = jnp.asarray(ts)
    else:
        try:
            ts = np.asarray(ts, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"`ts` must be an array of times, got {ts!r}.") from error
    if ts.ndim != 1 or ts.size == 0:
        raise ValueError(f"`ts` must be a one-dimensional array of times, got shape {ts.shape}.")
    if not is_traced(ts) and not (np.isfinite(ts).all() and (np.diff(ts) >= 0).all()):
        raise ValueError(f"`ts` must be finite and in ascending order, got {ts}: sort it with `jnp.sort`.")
    return ts


def require_number(argument: str, value: Any) -> float:
    if np.ndim(value) == 0 and not isinstance(value, str | bool):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise ValueError(f"`{argument}` must be a number, got {value!r}.")


def check_tolerances(rtol: Any, atol: Any, dtype: np.dtype) -> None:
    """A relative tolerance above rounding; an absolute one that is not negative, a number or a packed tree."""
    least = 8 * float(np.finfo(dtype).eps)
    if not is_traced(rtol) and not (least <= require_number("rtol", rtol) < math.inf):
        raise ValueError(
            f"`rtol` must be at least {least:.2g} for a {dtype} state, got {rtol}: a smaller error than rounding can't "
            "be asked for." + (" Use float64 for more." if dtype == np.float32 else "")
        )
    for tolerance in jax.tree.leaves(atol):
        number = (
            require_number("atol", tolerance) if np.ndim(tolerance) == 0 and not is_traced(tolerance) else tolerance
        )
        if not is_traced(tolerance) and not np.all(np.asarray(number) >= 0):
            raise ValueError(f"`atol` must not be negative, got {tolerance}.")


def check_max_steps(max_steps: Any) -> None:
    if not (isinstance(max_steps, int | np.integer) and not isinstance(max_steps, bool) and max_steps >= 1):
        raise ValueError(f"`max_steps` must be a positive integer, got {max_steps!r}.")


def check_first_step(dt0: Any) -> None:
    if dt0 is not None and not is_traced(dt0) and not (0 < require_number("dt0", dt0) < math.inf):
        raise ValueError(f"`dt0` must be a positive, finite time, got {dt0}.")


def check_functions(observe: Any, until: Any) -> None:
    for name, fn in (("observe", observe), ("until", until)):
        if fn is not None:
            require_arguments(name, fn, ("t", "y", "args"))


def check_diffrax(controller: Any, adjoint: Any) -> None:
    """A controller that is one, and an adjoint that can save more than the end."""
    if controller is not None and not isinstance(controller, diffrax.AbstractStepSizeController):
        raise ValueError(f"`controller` must be a diffrax step-size controller, got {type(controller).__name__}.")
    if adjoint is None:
        return
    if not isinstance(adjoint, diffrax.AbstractAdjoint) or isinstance(
        adjoint, diffrax.BacksolveAdjoint | diffrax.ImplicitAdjoint
    ):
        raise ValueError(
            f"`adjoint` must be a diffrax adjoint that differentiates the steps, got {type(adjoint).__name__}. Use "
            "`diffrax.RecursiveCheckpointAdjoint()` for reverse mode, `diffrax.ForwardMode()` for forward mode; "
            "solving backwards would amplify errors as fast as the flow contracts."
        )
