"""A module of a dynamical system: with a port that others drive, and a port that they see."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._tree import as_state, dtype_of, require_arguments
from .._typing import Args, Scalar, State, Vector
from ..metric import AbstractMetric, BlockMetric, require_metric
from ._base import AbstractFlow, Units, freeze_units, like_state


class Dynamical(AbstractFlow):
    """A module `x' = fn(t, x, u, args)` with the output `z = output(t, x, args)`, to be wired to others.

    `fm.cascade`, `fm.independent`, `fm.feedback` and `fm.network` wire modules to a system, which is a `Dynamical`
    again. With nothing at its input, `u = 0`, it is a flow: it can be simulated, measured and certified. For a system
    that is not made of modules use `VectorField`.

    Args:
        fn: the right-hand side, `fn(t, x, u, args)`, returning a tree like `x`, in [state]/time. A module that nothing
            drives ignores `u`.
        metric: the metric of its state, in which its rate is known; Euclidean if there is none.
        output: `output(t, x, args)`, an array or a tree that others see; the state by default.
        input: an example of `u`, an array or a tree, of which the shapes are kept; what is `None` in it takes
            anything. Without one, whatever is wired to the module is handed over as it comes, and nothing wired is the
            number 0.0.
        state: an example of `x`. With it, ports are checked when they are wired, else when they run.
        name: what messages, and the states of systems in which all modules have a name, call it.
        units: a mapping from labels (`"time"`, leaf paths) to unit strings.

    Raises:
        ValueError: if a function takes other arguments, `metric` is not a metric, or an example holds no float arrays;
            when run, if `fn` returns a tree or a shape that differs from the state's, or `u` from the example.

    Example:
        ```python
        leaky = fm.Dynamical(lambda t, x, u, args: -x + jnp.tanh(u), input=jnp.zeros(3), name="leaky")
        ```
    """

    fn: Callable
    metric: AbstractMetric | None
    reads: Callable | None
    input: PyTree[jax.ShapeDtypeStruct] | None
    state: PyTree[jax.ShapeDtypeStruct] | None
    name: str | None = eqx.field(static=True)
    units: Units = eqx.field(static=True)
    potential: ClassVar[None] = None
    balanced: ClassVar[bool] = False

    def __init__(
        self,
        fn: Callable,
        metric: AbstractMetric | None = None,
        *,
        output: Callable | None = None,
        input: PyTree | None = None,
        state: PyTree | None = None,
        name: str | None = None,
        units: Mapping[str, str] | Units | None = None,
    ):
        self.fn = fn
        self.metric = metric
        self.reads = output
        self.input = None if input is None else shapes_of("input", input)
        self.state = None if state is None else shapes_of("state", state)
        self.name = name
        self.units = freeze_units(units)

    def __check_init__(self):
        require_arguments("fn", self.fn, ("t", "x", "u", "args"))
        if self.reads is not None:
            require_arguments("output", self.reads, ("t", "x", "args"))
        if self.metric is not None:
            require_metric("metric", self.metric)
        if self.name is not None and not (isinstance(self.name, str) and self.name):
            raise ValueError(f"`name` must be a word, got {self.name!r}.")

    def drive(self, t: Scalar, y: State, u: PyTree = None, args: Args = None) -> Vector:
        """The velocity with the input `u`, zero by default."""
        u = self._nothing(y) if u is None else u
        if not fits(u, self.input):
            who = "this module" if self.name is None else f"module '{self.name}'"
            raise ValueError(f"The input of {who} has the shape {shown(self.input)}, but `u` has {shown(u)}.")
        return like_state("fn", self.fn(t, y, u, args), y)

    def output(self, t: Scalar, y: State, args: Args = None) -> PyTree:
        """What other modules see of the state."""
        return y if self.reads is None else self.reads(t, y, args)

    def weighted(self, weights: Any) -> "Dynamical":
        """The same system in the metric blkdiag(`P_i M_i`) of its modules' metrics, with a composition's `weights`.

        Args:
            weights: `P_i`, one positive number for each module, a dict by name where the modules have names.

        Raises:
            ValueError: if this is no system of modules, or the weights are not as they should be.
        """
        if not isinstance(self.metric, BlockMetric):
            raise ValueError(
                "`weighted` is for a system of modules, as `fm.network` assembles it; this one's metric is "
                f"{type(self.metric).__name__}."
            )
        return eqx.tree_at(lambda system: system.metric, self, self.metric.weighted(weights))

    def vector_field(self, t, y: State, args: Args = None) -> Vector:
        return self.drive(t, y, None, args)

    def position(self, y: State) -> State:
        return y

    def energy(self, t, y: State, args: Args = None):
        return None

    def dissipation(self, t, y: State, velocity: Vector, args: Args = None):
        return None

    def _nothing(self, y: State) -> Any:
        return 0.0 if self.input is None else jax.tree.map(lambda s: jnp.zeros(s.shape, dtype_of(y)), self.input)


def shapes_of(argument: str, example: PyTree) -> PyTree[jax.ShapeDtypeStruct]:
    """The shapes of an example, which may be one of shapes already."""
    leaves = jax.tree.leaves(example)
    if all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
        return example
    try:
        return jax.eval_shape(lambda: as_state(argument, example))
    except ValueError as error:
        raise ValueError(f"{error} An example of the shape (3,) is `jnp.zeros(3)`.") from error


def layout(tree: PyTree) -> Any:
    """Structure and shapes, to compare."""
    return jax.tree.structure(tree), [_shape(leaf) for leaf in jax.tree.leaves(tree)]


def fits(tree: PyTree, port: PyTree | None) -> bool:
    """Whether a tree has the structure and the shapes of a port, in which `None` takes anything."""
    places, structure = jax.tree.flatten(port, is_leaf=lambda node: node is None)
    try:
        parts = structure.flatten_up_to(tree)
    except ValueError:
        return False
    return all(place is None or layout(part) == layout(place) for place, part in zip(places, parts, strict=True))


def shown(tree: PyTree) -> str:
    """The shapes of a tree for a message: of an array its own."""
    return str(jax.tree.map(_shape, tree))


def _shape(leaf: Any) -> tuple[int, ...]:
    return tuple(getattr(leaf, "shape", ()))
