"""Second-order dynamics: a state with momentum on a curved space."""

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from .._tree import cast_like, dot, floats, is_traced, negative, ravel, size, unraveler
from .._typing import Args, Covector, Potential, State, Vector
from ..metric import AbstractMetric, Euclidean, require_metric, value_and_covector
from ._base import AbstractFlow, Units, freeze_units, require_potential


class InertialFlow(AbstractFlow):
    """`M(y) y'' + C(y, y') y' + D(y) y' = -grad f(y)`: heavy ball, accelerated descent, mechanics with friction.

    The state is the pair `(y, v)` with `v = y'`. The Coriolis term `C y'`, which keeps the energy right where the
    mass depends on the state, is formed without any third-order array.

    Args:
        potential: `f(y, args)`, a scalar float.
        metric: the mass `M(y)`, an inertia here: unit [potential] x time^2 / [state]^2.
        damping: the friction `D`: a number `gamma` for `D = gamma M` (the Riemannian heavy ball, unit 1/time), an
            (n, n) matrix in `ravel_pytree` order, a lineax operator, or a metric for a friction that depends on the
            state.
        units: a mapping from labels to unit strings.

    Raises:
        ValueError: if `potential`, `metric` or `damping` is not what it should be.

    Reference: R. M. Murray, Z. Li, S. S. Sastry, "A Mathematical Introduction to Robotic Manipulation" (1994), ch. 4.
    """

    potential: Potential
    metric: AbstractMetric
    damping: Any
    units: Units = eqx.field(static=True)
    balanced: ClassVar[bool] = True

    def __init__(
        self,
        potential: Potential,
        metric: AbstractMetric | None = None,
        damping: Any = 0.0,
        *,
        units: Mapping[str, str] | None = None,
    ):
        self.potential = potential
        self.metric = Euclidean() if metric is None else metric
        self.damping = damping if isinstance(damping, AbstractMetric | lx.AbstractLinearOperator) else _array(damping)
        self.units = freeze_units(units)

    def __check_init__(self):
        require_potential(self.potential)
        require_metric("metric", self.metric)

    def vector_field(self, t, y: State, args: Args = None) -> tuple[Vector, Vector]:
        place, velocity = self._split(y)
        metric = self.metric.at(t)
        _, covector = value_and_covector(self.potential, place, args)
        forces = (covector, self.coriolis(t, place, velocity, args), self.friction(t, place, velocity, args))
        total = jax.tree.map(lambda *terms: sum(terms[1:], start=terms[0]), *forces)
        acceleration = negative(metric.sharp(place, total, args))
        return velocity, cast_like(acceleration, velocity)

    def coriolis(self, t, place: State, velocity: Vector, args: Args = None) -> Covector:
        """`C(y, v) v = DM[v] v - grad_y (v^T M(y) v) / 2`, by one forward and one reverse derivative of `M(y) v`."""
        metric, like = self.metric.at(t), floats(place)

        def momentum(leaves):
            return metric.flat(eqx.combine(leaves, place), velocity, args)

        along = jax.jvp(momentum, (like,), (velocity,))[1]
        across = jax.grad(lambda leaves: dot(velocity, momentum(leaves)) / 2)(like)
        return jax.tree.map(jnp.subtract, along, across)

    def friction(self, t, place: State, velocity: Vector, args: Args = None) -> Covector:
        """`D(y) v`."""
        if isinstance(self.damping, AbstractMetric):
            return self.damping.at(t).flat(place, velocity, args)
        if isinstance(self.damping, lx.AbstractLinearOperator):
            return self.damping.mv(velocity)
        if self.damping.ndim == 0:
            flat = self.metric.at(t).flat(place, velocity, args)
            return jax.tree.map(lambda leaf: self.damping.astype(leaf.dtype) * leaf, flat)
        n = size(place)
        if self.damping.shape != (n, n):
            raise ValueError(f"`damping` must be a number or an ({n}, {n}) matrix, got shape {self.damping.shape}.")
        return unraveler(velocity)(self.damping.astype(ravel(velocity).dtype) @ ravel(velocity))

    def position(self, y: State) -> State:
        return self._split(y)[0]

    def energy(self, t, y: State, args: Args = None) -> Float[Array, ""]:
        """`v^T M(y) v / 2 + f(y)`."""
        place, velocity = self._split(y)
        return self.potential(place, args) + self.metric.at(t).inner(place, velocity, velocity, args) / 2

    def dissipation(self, t, y: State, velocity: Vector, args: Args = None) -> Float[Array, ""]:
        """`v^T D v`, less what a mass that itself changes with time does: `v^T (dM/dt) v / 2`."""
        place, speed = self._split(y)
        lost = dot(speed, self.friction(t, place, speed, args))

        def kinetic(s):
            return self.metric.at(s).inner(place, speed, speed, args) / 2

        return lost - jax.jvp(kinetic, (jnp.asarray(t),), (jnp.ones_like(t),))[1]

    def _split(self, y: State) -> tuple[State, Vector]:
        if not (isinstance(y, tuple | list) and len(y) == 2):
            raise ValueError(
                f"The state of an `InertialFlow` is the pair (y, velocity), got {type(y).__name__}. "
                "Start at rest with `(y0, jax.tree.map(jnp.zeros_like, y0))`."
            )
        place, velocity = y[0], floats(y[1])
        kinds = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (floats(place), velocity)]
        if jax.tree.structure(floats(place)) != jax.tree.structure(velocity) or kinds[0] != kinds[1]:
            raise ValueError(
                "The velocity of an `InertialFlow` must be a tree like its position, with its shapes and dtypes: got "
                f"{kinds[0]} and {kinds[1]}."
            )
        return place, velocity


def _array(damping) -> Array:
    try:
        damping = jnp.asarray(None if isinstance(damping, str) else damping)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`damping` must be a number, a matrix, an operator or a metric, got {damping!r}.") from error
    if not is_traced(damping) and not np.isfinite(np.asarray(damping)).all():
        raise ValueError(f"`damping` must be finite, got {damping}.")
    if damping.ndim not in (0, 2) or jnp.iscomplexobj(damping):
        raise ValueError(f"`damping` must be a number, a matrix, an operator or a metric, got shape {damping.shape}.")
    return damping if jnp.issubdtype(damping.dtype, jnp.floating) else damping.astype(jnp.result_type(float))
