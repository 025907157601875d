"""The largest stable step of a field that is no gradient flow: its Jacobian's eigenvalues, through the polynomial."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._tree import is_traced, ravel, size, traced_numbers
from ..._typing import Args, State
from ...flow import AbstractFlow, field_jacobian
from ._characteristic import Characteristic
from ._stable_radius import stable_radius
from .leading_curvature import AS_GRADIENT_FLOW

_LARGEST = 1000
"""Numbers of the state up to which the Jacobian is formed: its eigenvalues take some seconds then."""


@eqx.filter_jit
def _jacobian_at_state(flow: AbstractFlow, t: Any, y: State, args: Args) -> Float[Array, "n n"]:
    # A velocity that is replaced by NaN, as one in a metric that is none, has the derivative zero.
    known = jnp.isfinite(ravel(flow.vector_field(t, y, args))).all()
    return jnp.where(known, field_jacobian(flow, t, y, args), jnp.nan)


def dense_jacobian(flow: AbstractFlow, t: Any, y: State, args: Args) -> Float[np.ndarray, "n n"]:
    """The Jacobian of a field at a concrete state, in double precision.

    Raises:
        ValueError: if something is traced, or the state too large.
    """
    if is_traced(flow, t, y, args):
        raise ValueError(
            f"`y` is traced, and the eigenvalues of a field, such as this {type(flow).__name__}, are found outside of "
            f"JAX transformations. Call it there; {AS_GRADIENT_FLOW}."
        )
    if size(y) > _LARGEST:
        raise ValueError(
            f"`flow` must be a `fm.GradientFlow` for the {size(y)} numbers of its state, got {type(flow).__name__}, "
            f"whose Jacobian is formed for up to {_LARGEST}: {AS_GRADIENT_FLOW}. Else let an adaptive solver find the "
            "step, `fm.simulate(flow, y, t1)`."
        )
    return np.asarray(_jacobian_at_state(flow, traced_numbers(t), y, traced_numbers(args)), np.float64)


def require_finite(flow: AbstractFlow, jacobian: Float[np.ndarray, "n n"]) -> None:
    if not np.isfinite(jacobian).all():
        raise ValueError(
            f"`flow` must have a finite Jacobian at `y`, and that of this {type(flow).__name__} is not: look for a "
            "division by zero, or a logarithm or a root of a negative number."
        )


def field_limit(of: Characteristic, jacobian: Float[np.ndarray, "n n"], dtype: Any) -> float:
    """The largest `h` with which no eigenvalue's factor grows, for all smaller steps too; NaN if one is not known.

    Args:
        of: the method's polynomial.
        jacobian: the Jacobian.
        dtype: the precision that its entries are good to.
    """
    if not np.isfinite(jacobian).all():
        return math.nan
    values = np.linalg.eigvals(jacobian)
    rounding = len(values) * np.finfo(dtype).eps * np.max(np.abs(values), initial=0)
    # A factor of one is no growth: an eigenvalue that is zero sets no limit. Conjugates have the same one.
    moving = values[(np.abs(values) > rounding) & (values.imag >= 0)]
    steps = (stable_radius(of, value / abs(value), rounding / abs(value)) / abs(value) for value in moving)
    return min(steps, default=math.inf)
