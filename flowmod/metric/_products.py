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
    """`d -> H d` in `ravel_pytree` order, `H` the plain second derivatives of a potential: forward over reverse."""
    unravel = unraveler(y)

    def gradient(x):
        return ravel(value_and_covector(potential, combine(unravel(x), y), args)[1])

    return jax.linearize(gradient, ravel(y))[1]
