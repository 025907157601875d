"""The largest stable step of a field that has no potential: all eigenvalues of its Jacobian, through the polynomial."""

import math
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from ..._tree import is_traced, size, traced_numbers
from ..._typing import Args, State
from ...flow import AbstractFlow, field_jacobian
from ._characteristic import Characteristic
from ._stable_radius import stable_radius

_LARGEST = 1000
"""Numbers of the state up to which the Jacobian is formed: its eigenvalues take some seconds then."""

_jacobian_at_state = eqx.filter_jit(field_jacobian)


def dense_jacobian(flow: AbstractFlow, t: Any, y: State, args: Args) -> Float[np.ndarray, "n n"]:
    """The Jacobian of a field at a concrete state, in double precision.

    Raises:
        ValueError: if something is traced, or the state too large.
    """
    if is_traced(flow, t, y, args):
        raise ValueError(
            "`y` is traced, and the eigenvalues of a field without a potential are found outside of JAX "
            "transformations: call it there, or give the flow its `potential` and `metric`."
        )
    if size(y) > _LARGEST:
        raise ValueError(
            f"`flow` has no potential and metric for its {size(y)} numbers, and the Jacobian of any other field is "
            f"formed for up to {_LARGEST}: matrix-free limits are for `fm.GradientFlow`. Let an adaptive solver find "
            "the step, `fm.simulate(flow, y, t1)`."
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
