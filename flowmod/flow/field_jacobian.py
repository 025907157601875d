"""The matrix of partial derivatives of a vector field."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._tree import combine, dtype_of, is_float_array, ravel, unraveler
from .._typing import Args, Scalar, State
from ._base import AbstractFlow

_COLUMNS = 32


def field_jacobian(flow: AbstractFlow, t: Scalar, y: State, args: Args = None) -> Float[Array, "n n"]:
    """`J_ij = d v_i / d y_j` in `ravel_pytree` order, 1/time: NaN in the rows in which the field is not finite.

    A derivative can look sound there, as that of `log(y)` for `y < 0`.
    """
    rest, unravel = eqx.filter(y, is_float_array, inverse=True), unraveler(y)
    t = jnp.asarray(t, dtype=dtype_of(y))
    x = ravel(y)
    velocity, push = jax.linearize(lambda x: ravel(flow.vector_field(t, combine(unravel(x), rest), args)), x)
    # Some columns at a time: all at once would hold the derivative of every intermediate along every direction.
    jacobian = jax.lax.map(push, jnp.eye(x.size, dtype=x.dtype), batch_size=_COLUMNS).T
    return jacobian * jnp.where(jnp.isfinite(velocity), 1, jnp.nan).astype(jacobian.dtype)[:, None]
