"""What a Krylov method needs at a state, on flat vectors: products with a metric, its inverse and a Hessian."""

import jax
import jax.numpy as jnp

from .._tree import combine, ravel, unraveler
from .._typing import Args, Potential, State
from ..linalg import Product
from ._base import AbstractMetric
from ._factorise import inverse_at
from .descent import value_and_covector


def metric_products(metric: AbstractMetric, y: State, args: Args = None) -> tuple[Product, Product]:
    """`d -> M(y) d` and `g -> M(y)^-1 g` in `ravel_pytree` order, the metric evaluated and factored once."""
    unravel, inverse = unraveler(y), inverse_at(metric, y, args)
    # A linear map that JAX has linearised keeps the matrix and not the function that makes it.
    mass = jax.linearize(lambda d: ravel(metric.flat(y, unravel(d), args)), jnp.zeros_like(ravel(y)))[1]
    return mass, lambda covector: ravel(inverse(unravel(covector)))


def hessian_product(potential: Potential, y: State, args: Args = None) -> Product:
    """`d -> H d` in `ravel_pytree` order, `H` the plain second derivatives of a potential: forward over reverse.

    Raises:
        ValueError: if the potential has a gradient that can't be differentiated.
    """
    unravel = unraveler(y)

    def gradient(x):
        return ravel(value_and_covector(potential, combine(unravel(x), y), args)[1])

    x = ravel(y)
    try:
        product = jax.linearize(gradient, x)[1]
        # What has a gradient of its own and no more says so when it is lowered, or differentiated again.
        jax.eval_shape(lambda d: jax.jvp(product, (d,), (d,)), x)
    except Exception as error:
        jax.eval_shape(gradient, x)  # what is wrong with the gradient itself is said there
        reason = str(error).partition("\n")[0]
        raise ValueError(
            "`potential` must have second derivatives, and its gradient can't be differentiated "
            f"({type(error).__name__}: {reason}). Write it with `jax.custom_jvp` instead of "
            "`jax.custom_vjp`, and without callbacks or loops of unknown length."
        ) from error
    return product
