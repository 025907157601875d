"""The pencil of a rate without its matrices: products with `S` and `M` and a factored solve, in flat vectors."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._tree import combine, dtype_of, ravel, unraveler
from .._typing import Args, Scalar, State
from ..flow import AbstractFlow, GradientFlow
from ..linalg import Product
from ..metric import AbstractMetric, hessian_product, metric_products
from .jacobian import default_metric


class Pencil(NamedTuple):
    """`(S, M)` at one state, as functions of flat vectors in `ravel_pytree` order.

    Attributes:
        product: `S d`, with `S = (M' + M J + J^T M) / 2`.
        mass: `M d`.
        solve: `M^-1 g`, with `M` factored once.
    """

    product: Product
    mass: Product
    solve: Product


class _Local(NamedTuple):
    """A flow and a metric in flat coordinates around one state."""

    t: Float[Array, ""]
    x: Float[Array, " n"]
    field: Product
    flat: Callable  # (t, x, d) -> M(t, x) d


def pencil_products(flow: AbstractFlow, t: Scalar, y: State, args: Args, metric: AbstractMetric | None) -> Pencil:
    """The pencil of a flow at a state; without a `metric`, a gradient flow's needs no derivative of a solve.

    What does not depend on the vector that is multiplied (the metric's matrix and its derivative, the activations of a
    network) is worked out once.
    """
    unravel, measure = unraveler(y), default_metric(flow, y, metric)

    def state(x):
        return combine(unravel(x), y)

    local = _Local(
        t=jnp.asarray(t, dtype=dtype_of(y)),
        x=ravel(y),
        field=lambda x: ravel(flow.vector_field(t, state(x), args)),
        flat=lambda t, x, d: ravel(measure.at(t).flat(state(x), unravel(d), args)),
    )
    if metric is None and isinstance(flow, GradientFlow):
        product = _descent(local, hessian_product(flow.potential, y, args))
    else:
        product = _general(local)
    # JAX's linearised map of a linear map keeps what does not depend on its argument.
    product = jax.linearize(product, jnp.zeros_like(local.x))[1]
    return Pencil(product, *metric_products(measure.at(local.t), y, args))


def _general(local: _Local) -> Product:
    t, x = local.t, local.x
    velocity, forward = jax.linearize(local.field, x)
    backward = jax.linear_transpose(forward, x)

    def product(d):
        momentum, rate = jax.jvp(lambda t, x: local.flat(t, x, d), (t, x), (jnp.ones_like(t), velocity))
        pushed = forward(d)
        # Two solves that do not wait for each other can hang XLA's thread pool on two cores: the second one waits.
        pulled = backward(momentum + 0 * pushed)[0]
        return (rate + local.flat(t, x, pushed) + pulled) / 2

    return product


def _descent(local: _Local, hessian: Product) -> Product:
    """`S d` where `M u = -grad f` with `u = y'`: differentiated as it stands, it gives `M J d` and `J^T M d`.

    `-S d = H d + (grad_y (u^T M d) + DM[d] u - DM[u] d - (d_t M) d) / 2`, with `u` and `d` held fixed: minus the
    Riemannian Hessian, and half of what a metric that moves by itself adds.
    """
    t, x = local.t, local.x
    velocity = local.field(x)

    def product(d):
        along = jax.jvp(lambda t, x: local.flat(t, x, d), (t, x), (jnp.ones_like(t), velocity))[1]
        turned = jax.jvp(lambda x: local.flat(t, x, velocity), (x,), (d,))[1]
        across = jax.grad(lambda x: velocity @ local.flat(t, x, d))(x)
        return (along - turned - across) / 2 - hessian(d)

    return product
