"""One step of the optimizer and, beside it, the averaged motion over the same time, its eigenvectors carried along."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..._tree import combine, ravel, unraveler
from ..._typing import Args, State
from ...metric import ConstantMetric, Euclidean, hessian_product, metric_products, value_and_covector
from ..methods import Discretization
from ._average import average
from ._leading import Leading, leading
from .central_flow import CentralFlow

SPARE = 2
"""Vectors beyond those that are wanted: what overtakes the others is seen before it does."""

RTOL = 1e-3
"""Residual of the leading eigenpairs: an eigenvalue's relative error is about its square."""

_RANDOM = 0.1
"""The length of what is random in the last of the vectors that a search begins with, beside one."""


class Course(eqx.Module):
    """Whose steps they are."""

    central: CentralFlow
    y0: State
    args: Args
    substeps: int = eqx.field(static=True)

    def state(self, flat: Float[Array, " n"]) -> State:
        return combine(unraveler(self.y0)(flat), self.y0)

    def metric_products(self, t: Any, flat: Float[Array, " n"]):
        """Of a constant metric those at the start, so that a loop factors it once."""
        metric = self.central.metric
        constant = isinstance(metric, Euclidean | ConstantMetric)
        return metric_products(metric.at(t), self.y0 if constant else self.state(flat), self.args)


class Tracked(NamedTuple):
    """A state, and the eigenvectors that were found last."""

    flat: Float[Array, " n"]
    vectors: Float[Array, "b n"]


class Seen(NamedTuple):
    """What the averaged motion was at a step."""

    value: Float[Array, ""]
    values: Float[Array, " b"]
    vectors: Float[Array, "k n"]
    covariance: Float[Array, "k k"]
    products: Int[Array, ""]


def first_vectors(count: int, like: Float[Array, " n"]) -> Float[Array, "b n"]:
    """Where the first search begins."""
    return jax.random.normal(jax.random.key(0), (min(count + SPARE, like.size), like.size), like.dtype)


def track(course: Course, t: Any, at: Tracked, count: Int[Array, ""], most: int, warm: bool = True) -> Leading:
    """The leading eigenpairs at a state, those that are near the threshold and the first found to the tolerance."""
    central, y = course.central, course.state(at.flat)
    key = jax.random.fold_in(jax.random.key(1), count)
    random = jax.random.normal(key, at.vectors.shape if not warm else at.flat.shape, at.flat.dtype)
    start = at.vectors
    if warm:
        length = jnp.linalg.norm(start[-1]) * _RANDOM
        start = start.at[-1].add(length * random / jnp.linalg.norm(random))
    else:
        start = random
    threshold = central.threshold_in(at.flat.dtype)
    ranks = jnp.arange(len(start))

    def wanted(values):
        return (ranks == 0) | ((ranks < most) & threshold.is_near(values))

    products = hessian_product(central.potential, y, course.args), *course.metric_products(t, at.flat)
    return leading(*products, start, wanted, RTOL)


def central_step(course: Course, t: Any, at: Tracked, count: Int[Array, ""]) -> tuple[Tracked, Seen]:
    """The averaged motion over the time of one step of the optimizer, in sub-steps of Euler's method.

    Each sub-step is as long as the relaxation of the central flow, so that a curvature above the threshold is back at
    its end. Eigenvectors are found at its beginning, and where one is near its threshold in all sub-steps.
    """
    central = course.central
    size = jnp.asarray(central.step_size / course.substeps, at.flat.dtype)
    threshold = central.threshold_in(at.flat.dtype)
    most = min(central.directions, len(at.vectors))

    def substep(carry, index):
        at, values, products = carry
        mass_and_solve = course.metric_products(t, at.flat)

        def anew():
            found = track(course, t, at, count * course.substeps + index, most)
            return found.values, found.vectors, found.products

        def same():
            return values, at.vectors, jnp.zeros_like(products)

        values, vectors, more = jax.lax.cond((index == 0) | jnp.any(threshold.is_near(values)), anew, same)
        y = course.state(at.flat)
        found = average(central.potential, mass_and_solve[1], y, course.args, values[:most], vectors[:most], threshold)
        ahead = Tracked(at.flat + size * found.velocity, vectors)
        seen = Seen(found.value, values, vectors[:most], found.covariance, more)
        return (ahead, values, products + more), seen

    start = (at, jnp.zeros(len(at.vectors), at.flat.dtype), jnp.zeros((), jnp.int32))
    (ahead, _, products), seen = jax.lax.scan(substep, start, jnp.arange(course.substeps, dtype=jnp.int32))
    first = jax.tree.map(lambda along: along[0], seen)
    return ahead, first._replace(products=products)


class Abreast(NamedTuple):
    """The optimizer, with its memory, and the averaged motion, at the same step."""

    discrete: Tracked
    memory: Any
    central: Tracked
    count: Int[Array, ""]


class Record(NamedTuple):
    """What is kept of each step, with a leading axis of steps."""

    loss: Float[Array, "*T"]
    loss_flow: Float[Array, "*T"]
    loss_central: Float[Array, "*T"]
    sharpness: Float[Array, "*T"]
    curvatures: Float[Array, "*T b"]
    distance_central: Float[Array, "*T"]
    distance_flow: Float[Array, "*T"]
    predicted: Float[Array, "*T k"]
    displaced: Float[Array, "*T k"]
    products: Int[Array, "*T"]


def begin(course: Course, optimizer: Discretization) -> Abreast:
    """Both at the start."""
    flat = ravel(course.y0)
    memory = eqx.filter(optimizer.init(course.state(flat)), eqx.is_array)
    discrete = Tracked(flat, first_vectors(1, flat))
    central = Tracked(flat, first_vectors(min(course.central.directions, flat.size), flat))
    return Abreast(discrete, memory, central, jnp.zeros((), jnp.int32))


@eqx.filter_jit
def march(
    course: Course, optimizer: Discretization, abreast: Abreast, flow_states: Float[Array, "T n"]
) -> tuple[Abreast, Record]:
    """As many steps as there are states of the gradient flow to compare with."""
    return jax.lax.scan(lambda abreast, there: _step(course, optimizer, abreast, there), abreast, flow_states)


def _step(course: Course, optimizer: Discretization, abreast: Abreast, there: Float[Array, " n"]):
    central, (discrete, memory, averaged, count) = course.central, abreast
    dtype = discrete.flat.dtype
    t = count.astype(dtype) * jnp.asarray(central.step_size, dtype)
    mass, _ = course.metric_products(t, averaged.flat)
    y = course.state(discrete.flat)
    loss, covector = value_and_covector(central.potential, y, course.args)
    sharpest = track(course, t, discrete, count, 1)
    updates, memory = optimizer.update(covector, memory, y)
    ahead, seen = central_step(course, t, averaged, count)
    offset = discrete.flat - averaged.flat
    from_flow = discrete.flat - there
    variances, basis = jnp.linalg.eigh(seen.covariance, symmetrize_input=False)
    along = basis.T @ (seen.vectors @ mass(offset))
    record = Record(
        loss=loss,
        loss_flow=central.potential(course.state(there), course.args),
        loss_central=seen.value,
        sharpness=sharpest.values[0],
        curvatures=seen.values,
        distance_central=jnp.sqrt(offset @ mass(offset)),
        distance_flow=jnp.sqrt(from_flow @ mass(from_flow)),
        predicted=variances[::-1],
        displaced=along[::-1],
        products=seen.products,
    )
    moved = Tracked(discrete.flat + ravel(updates), sharpest.vectors)
    return Abreast(moved, memory, ahead, count + 1), record
