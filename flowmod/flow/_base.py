"""What a flow is: a vector field that knows its potential, its metric and its energy balance."""

import abc
from collections.abc import Callable, Mapping
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._tree import as_float, cast_like, floats, label_of, require_arguments
from .._typing import Args, Potential, Scalar, State, Vector
from ..metric import AbstractMetric

Units = tuple[tuple[str, str], ...]


class AbstractFlow(diffrax.AbstractTerm):
    """A flow `y' = v(t, y, args)`, and a diffrax term: `diffrax.diffeqsolve(flow, diffrax.Tsit5(), ...)` runs it.

    Attributes:
        potential: `f(y, args)` that the flow descends, or `None`.
        metric: the metric that the flow is measured in, or `None`.
        balanced: whether the flow has an energy, and hence a ledger.
        units: pairs of a label (`"time"`, `"potential"`, or a leaf's path) and its unit.
    """

    potential: eqx.AbstractVar[Potential | None]
    metric: eqx.AbstractVar[AbstractMetric | None]
    units: eqx.AbstractVar[Units]
    balanced: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def vector_field(self, t: Scalar, y: State, args: Args = None) -> Vector:
        """The velocity `y'` at time `t` and state `y`, a tree like the float leaves of `y`."""

    @abc.abstractmethod
    def position(self, y: State) -> State:
        """The part of the state in which potential and metric live."""

    @abc.abstractmethod
    def energy(self, t: Scalar, y: State, args: Args = None) -> Float[Array, ""] | None:
        """What the flow dissipates, in the potential's unit; `None` where there is no potential."""

    @abc.abstractmethod
    def dissipation(self, t: Scalar, y: State, velocity: Vector, args: Args = None) -> Float[Array, ""] | None:
        """The rate at which the energy should fall if the state moves with `velocity`, through the metric's `flat`."""

    def vf(self, t, y, args):
        return self.vector_field(t, y, args)

    def contr(self, t0, t1, **kwargs):
        return t1 - t0

    def prod(self, vf, control):
        return jax.tree.map(lambda v: v * jnp.asarray(control).astype(v.dtype), vf)


def freeze_units(units: Mapping[str, str] | Units | None) -> Units:
    """Units as a hashable tuple of pairs."""
    if units is None:
        return ()
    pairs = tuple(units.items()) if isinstance(units, Mapping) else tuple(units)
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise ValueError(f"`units` must map labels to unit strings, got {units!r}.")
    return pairs


def like_state(argument: str, vector: PyTree, y: State) -> Vector:
    """`vector` in the dtypes of the state; a `ValueError` if its tree or a shape differs."""
    like = floats(y)
    vector = floats(jax.tree.map(as_float, vector))
    if jax.tree.structure(like) != jax.tree.structure(vector):
        raise ValueError(
            f"`{argument}` must return a tree like the state's float leaves, {jax.tree.structure(like)}, "
            f"got {jax.tree.structure(vector)}."
        )
    for (path, leaf), entry in zip(jax.tree.leaves_with_path(like), jax.tree.leaves(vector), strict=True):
        if jnp.shape(leaf) != jnp.shape(entry):
            where = f" at '{label_of(path)}'" if path else ""
            raise ValueError(
                f"`{argument}` must return shape {jnp.shape(leaf)}{where}, like the state, got {jnp.shape(entry)}."
            )
    return cast_like(vector, like)


def require_potential(potential: Callable) -> None:
    require_arguments("potential", potential, ("y", "args"))


def require_flow(flow: Any) -> None:
    if not isinstance(flow, AbstractFlow):
        raise ValueError(
            f"`flow` must be a flow, got {type(flow).__name__}. Wrap a potential as `fm.GradientFlow(potential)`, a "
            "right-hand side `fn(t, y, args)` as `fm.VectorField(fn)`."
        )
