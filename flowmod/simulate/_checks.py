"""Input of a run: made into arrays, or refused with the argument, the value and the cure."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from .._tree import is_float_array, is_traced, label_of
from ..flow import AbstractFlow

_PRECISIONS = (np.dtype("float64"), np.dtype("float32"))


def check_flow(flow: Any) -> None:
    if not isinstance(flow, AbstractFlow):
        raise ValueError(
            f"`flow` must be a flow, got {type(flow).__name__}. Wrap a potential as `fm.GradientFlow(potential)`, a "
            "right-hand side `fn(t, y, args)` as `fm.VectorField(fn)`."
        )


def check_state(argument: str, y: PyTree) -> tuple[list, Any]:
    """The state's leaves and structure; float leaves as NumPy arrays unless they are traced.

    Leaves inside Equinox modules that are no float arrays stay what they are.
    """
    leaves, structure = jax.tree.flatten(y)
    floats = [index for index, leaf in enumerate(leaves) if is_float_array(leaf)]
    if len(floats) < len(leaves):
        leaves, structure = jax.tree.flatten(_with_arrays(argument, y))
        floats = [index for index, leaf in enumerate(leaves) if is_float_array(leaf)]
    if not floats:
        raise ValueError(f"`{argument}` must hold at least one float array, got {y!r}.")
    for index in floats:
        if leaves[index].dtype not in _PRECISIONS:
            dtype, where = leaves[index].dtype, _place(leaves, structure, index)
            raise ValueError(f"`{argument}` must be float32 or float64, got {dtype}{where}: convert it first.")
        if isinstance(leaves[index], Tracer):
            continue
        leaves[index] = np.asarray(leaves[index])
        if not np.isfinite(leaves[index]).all():
            where = _place(leaves, structure, index)
            raise ValueError(f"`{argument}` must be finite, got {leaves[index]}{where}.")
    return leaves, structure


def _place(leaves: list, structure: Any, index: int) -> str:
    path = jax.tree.leaves_with_path(jax.tree.unflatten(structure, leaves))[index][0]
    return f" at '{label_of(path)}'" if path else ""


def _with_arrays(argument: str, y: PyTree) -> PyTree:
    def convert(path, leaf):
        if isinstance(leaf, eqx.Module) or is_float_array(leaf):
            return leaf
        if isinstance(leaf, float):
            return np.asarray(leaf, dtype=jnp.result_type(float))
        where = f" at '{label_of(path)}'" if path else ""
        kind = getattr(leaf, "dtype", type(leaf).__name__)
        raise ValueError(
            f"`{argument}` must hold float arrays, got {kind}{where}: write 1.0 for 1, or convert with "
            "`jnp.asarray(value, dtype=float)`."
        )

    return jax.tree.map_with_path(convert, y, is_leaf=lambda node: isinstance(node, eqx.Module))


def check_times(times: tuple, dtype: np.dtype) -> tuple[Any, Any, Any]:
    """Start, end and saved times in the state's precision: diffrax would widen a float32 state to that of times."""
    t0, t1, ts = times
    ts = None if ts is None else _check_saved_times(ts)
    t1 = ts[-1] if t1 is None and ts is not None else t1
    if t1 is None:
        raise ValueError("`t1` must be given: the time at which the run ends.")
    if not is_traced(t0, t1):
        first, last = require_number("t0", t0), require_number("t1", t1)
        if not (math.isfinite(first) and math.isfinite(last) and first < last):
            raise ValueError(
                f"`t1` must be a finite time after `t0`, got t0 = {t0} and t1 = {t1}. To run backwards, reverse the "
                "field's sign."
            )
        if ts is not None and not is_traced(ts) and (ts[0] < first or ts[-1] > last):
            raise ValueError(f"`ts` must lie between t0 = {t0} and t1 = {t1}, got {ts[0]} to {ts[-1]}.")
    as_time = jnp.asarray if is_traced(t0, t1, ts) else np.asarray
    return as_time(t0, dtype), as_time(t1, dtype), None if ts is None else as_time(ts, dtype)


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
    if not is_traced(rtol) and not require_number("rtol", rtol) >= least:
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
    if not (isinstance(max_steps, int) and not isinstance(max_steps, bool) and max_steps >= 1):
        raise ValueError(f"`max_steps` must be a positive integer, got {max_steps!r}.")
