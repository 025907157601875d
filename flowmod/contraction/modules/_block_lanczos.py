"""Rates of modules and gains between them without matrices: Lanczos on each block and each ordered pair of blocks.

All blocks are parts of one vector. A pencil of module `a` is that of the whole between vectors that are zero elsewhere,
so that one program serves all modules, whatever their sizes.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..._tree import combine, dtype_of, ravel, unraveler
from ...flow import GradientFlow
from ...linalg import Product, leading_eigenpair, random_start
from ...metric import tolerance, value_and_covector
from .._pencil import Pencil, pencil_products
from ..jacobian import default_metric
from ..leading_mode import CURE
from ._block_rates import BlockRates, Place
from ._owners import owner_of_each

_ALL = -1
"""In the place of a module: all of them."""


class _Products(NamedTuple):
    """The pencil of the whole, and `M J` with its transpose, which `S` has only as a sum."""

    pencil: Pencil
    forward: Product
    backward: Product
    owner: Int[Array, " n"]

    def only(self, module: Int[Array, ""], vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """The part of a vector in one module, zero elsewhere."""
        return jnp.where((self.owner == module) | (module == _ALL), vector, 0)

    def of_task(self, task: Int[Array, "2"], weight: Float[Array, " n"]) -> Product:
        """The matrix whose largest eigenvalue is asked for, before it is cut to a module."""
        into, of = task

        def gain(d):
            """`J^T M J` with what arrives in one module only."""
            return self.backward(self.pencil.solve(self.only(into, self.forward(d))))

        def block(d):
            return weight * self.pencil.product(d)

        def whole(d):
            """`S` of the metric `W M` is `W S + (B^T W - W B^T) / 2` with `B = M J`: `W` leaves the motion of `M`."""
            return block(d) + (self.backward(weight * d) - weight * self.backward(d)) / 2

        kind = jnp.where(into != of, 0, jnp.where(of == _ALL, 2, 1))
        return lambda d: jax.lax.switch(kind, (gain, block, whole), d)


def block_rates_by_lanczos(place: Place) -> BlockRates:
    """Rates and gains from products alone; each is the largest eigenvalue that was seen, an estimate.

    Raises:
        ValueError: if the metric is none in a module or couples two, or something is not finite: with the module.
        RuntimeError: if Lanczos did not converge for a module or a pair.
    """
    names = place.blocks.names
    count = len(names)
    tasks = [(a, b) for a in range(count) for b in range(count)] + [(_ALL, _ALL)]
    wanted = np.arange(len(tasks))
    owner = jnp.asarray(owner_of_each(place.blocks, place.y))

    def modes(wanted, weights):
        weights = jnp.asarray(weights, dtype=ravel(place.y).dtype)
        found, leak = _modes(
            place.flow, place.t, place.y, place.args, place.metric, owner, np.array(tasks, np.int32), wanted, weights
        )
        if not np.asarray(leak).max() <= tolerance(dtype_of(place.y)):
            place.require_metric()
        for task, asked, *mode in zip(tasks, wanted, *found, strict=True):
            if asked:
                _require(place, _name(task, names), *mode)
        return np.asarray(found[0], dtype=np.float64)

    ones = np.ones(count)
    values = modes(wanted < count**2, ones)[:-1].reshape(count, count)
    gains = np.sqrt(np.maximum(values, 0))
    np.fill_diagonal(gains, 0)
    return BlockRates(-np.diag(values), gains, lambda weights: -modes(wanted == count**2, weights)[-1])


def _name(task: tuple[int, int], names: tuple[str, ...]) -> str:
    into, of = task
    if of == _ALL:
        return "The rate of the whole"
    return f"The rate of module '{names[of]}'" if into == of else f"The gain from '{names[of]}' into '{names[into]}'"


def _require(place: Place, what: str, value, residual, scale, converged) -> None:
    if not np.isfinite(value):
        place.require_metric()
        raise place.fault_of(what)
    if not converged:
        raise RuntimeError(
            f"{what} {place.name} is not known: Lanczos stopped with the residual {float(residual):.2g}, "
            f"{float(residual / scale):.2g} of the largest modulus. {CURE}"
        )


@eqx.filter_jit
def _modes(flow, t, y, args, metric, owner, tasks, wanted, weights):
    """The leading eigenvalue of each wanted task, and how much of `M` leaves a module, as a part of a length.

    All kinds are one program, because the pencil is most of what is compiled.
    """
    products = _products(flow, t, y, args, metric, owner)
    pencil, weight = products.pencil, weights[owner]
    start = random_start(owner.size, ravel(y).dtype)

    def mode(task):
        of, of_task = task[1], products.of_task(task, weight)

        def product(d):
            return products.only(of, of_task(d))

        def mass(d):
            return products.only(of, weight * pencil.mass(d))

        def solve(g):
            return products.only(of, pencil.solve(g / weight))

        found = leading_eigenpair(product, mass, solve, products.only(of, start), precision=dtype_of(y))
        return found.value, found.residual, found.scale, found.converged

    def none(task):
        zero = jnp.zeros((), start.dtype)
        return zero, zero, zero, jnp.array(False)

    def leak(module):
        # Not of `start` itself, whose length is all in the directions that weigh most.
        vector = products.only(module, pencil.solve(products.only(module, start)))
        momentum = pencil.mass(vector)
        outside = momentum - products.only(module, momentum)
        return jnp.sqrt(outside @ pencil.solve(outside) / (vector @ momentum))

    found = jax.lax.map(lambda task: jax.lax.cond(task[1], mode, none, task[0]), (tasks, wanted))
    return found, jax.lax.map(leak, jnp.arange(weights.size, dtype=owner.dtype))


def _products(flow, t, y, args, metric, owner) -> _Products:
    unravel, x = unraveler(y), ravel(y)
    measure = default_metric(flow, y, metric).at(t)

    def state(x):
        return combine(unravel(x), y)

    def field(x):
        return ravel(flow.vector_field(t, state(x), args))

    pencil = pencil_products(flow, t, y, args, metric)
    if metric is None and isinstance(flow, GradientFlow):
        # `M J d` of `M u = -grad f` with `u` held fixed: no derivative of a solve.
        velocity = unravel(field(x))

        def force(x):
            pushed = measure.flat(state(x), velocity, args)
            return -ravel(value_and_covector(flow.potential, state(x), args)[1]) - ravel(pushed)

        forward = jax.linearize(force, x)[1]
        backward = jax.linear_transpose(forward, x)
        return _Products(pencil, forward, lambda d: backward(d)[0], owner)
    push = jax.linearize(field, x)[1]
    pull = jax.linear_transpose(push, x)
    return _Products(pencil, lambda d: pencil.mass(push(d)), lambda d: pull(pencil.mass(d))[0], owner)
