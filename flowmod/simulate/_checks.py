"""Input of a run: made into arrays, or refused with the argument, the value and the cure."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._tree import is_float_array, is_traced, label_of
from ..flow import AbstractFlow


def check_flow(flow: Any) -> None:
    if not isinstance(flow, AbstractFlow):
        raise ValueError(
            f"`flow` must be a flow, got {type(flow).__name__}. Wrap a potential as `fm.GradientFlow(potential)`, a "
            "right-hand side `fn(t, y, args)` as `fm.VectorField(fn)`."
        )


def check_state(argument: str, y: PyTree) -> tuple[list, Any]:
    """The state's leaves and structure, Python floats made into arrays.

    Leaves inside Equinox modules that are no float arrays stay what they are.
    """
    leaves, structure = jax.tree.flatten(y)
    if not all(map(is_float_array, leaves)):
        leaves, structure = jax.tree.flatten(_with_arrays(argument, y))
    if not any(map(is_float_array, leaves)):
        raise ValueError(f"`{argument}` must hold at least one float array, got {y!r}.")
    for index, leaf in enumerate(leaves):
        if not is_float_array(leaf):
            continue
        if leaf.dtype.name not in ("float32", "float64"):
            where = _place(leaves, structure, index)
            raise ValueError(f"`{argument}` must be float32 or float64, got {leaf.dtype}{where}: convert it first.")
        if not is_traced(leaf) and not np.isfinite(np.asarray(leaf)).all():
            where = _place(leaves, structure, index)
            raise ValueError(f"`{argument}` must be finite, got {np.asarray(leaf)}{where}.")
    return leaves, structure


def _place(leaves: list, structure: Any, index: int) -> str:
    path = jax.tree.leaves_with_path(jax.tree.unflatten(structure, leaves))[index][0]
    return f" at '{label_of(path)}'" if path else ""


def _with_arrays(argument: str, y: PyTree) -> PyTree:
    def convert(path, leaf):
        if isinstance(leaf, eqx.Module) or is_float_array(leaf):
            return leaf
        if isinstance(leaf, float):
            return jnp.asarray(leaf)
        where = f" at '{label_of(path)}'" if path else ""
        kind = getattr(leaf, "dtype", type(leaf).__name__)
        raise ValueError(
            f"`{argument}` must hold float arrays, got {kind}{where}: write 1.0 for 1, or convert with "
            "`jnp.asarray(value, dtype=float)`."
        )

    return jax.tree.map_with_path(convert, y, is_leaf=lambda node: isinstance(node, eqx.Module))


def check_times(t0: Any, t1: Any, ts: Any, dtype: np.dtype) -> tuple[Any, Any, Any]:
    """Start, end and saved times in the state's precision: diffrax would widen a float32 state to that of times."""
    if ts is not None:
        if np.ndim(ts) != 1 or np.size(ts) == 0:
            raise ValueError(f"`ts` must be a one-dimensional array of times, got shape {np.shape(ts)}.")
        if not is_traced(ts):
            wide = np.asarray(ts, dtype=np.float64)
            if not np.isfinite(wide).all() or (np.diff(wide) < 0).any():
                raise ValueError(f"`ts` must be finite and in ascending order, got {wide}: sort it with `jnp.sort`.")
        t1 = ts[-1] if t1 is None else t1
    if t1 is None:
        raise ValueError("`t1` must be given: the time at which the run ends.")
    if not is_traced(t0, t1):
        if np.ndim(t0) or np.ndim(t1) or not (math.isfinite(t0) and math.isfinite(t1) and t0 < t1):
            raise ValueError(
                f"`t1` must be a finite time after `t0`, got t0 = {t0} and t1 = {t1}. To run backwards, reverse the "
                "field's sign."
            )
        if ts is not None and not is_traced(ts) and (ts[0] < t0 or ts[-1] > t1):
            raise ValueError(f"`ts` must lie between t0 = {t0} and t1 = {t1}, got {ts[0]} to {ts[-1]}.")
    as_time = np.asarray if not is_traced(t0, t1, ts) else jnp.asarray
    return as_time(t0, dtype), as_time(t1, dtype), None if ts is None else as_time(ts, dtype)


def check_tolerances(rtol: Any, atol: Any, dtype: np.dtype) -> None:
    least = 8 * float(np.finfo(dtype).eps)
    if not is_traced(rtol) and not rtol >= least:
        raise ValueError(
            f"`rtol` must be at least {least:.2g} for a {dtype} state, got {rtol}: a smaller error than rounding can't "
            "be asked for." + (" Use float64 for more." if dtype == np.float32 else "")
        )
    if not is_traced(atol) and not np.all(np.asarray(atol) >= 0):
        raise ValueError(f"`atol` must not be negative, got {atol}.")


def check_max_steps(max_steps: Any) -> None:
    if not (isinstance(max_steps, int) and not isinstance(max_steps, bool) and max_steps >= 1):
        raise ValueError(f"`max_steps` must be a positive integer, got {max_steps!r}.")
