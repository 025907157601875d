"""What a module is: a map with parameters of its own, its linearisation at a batch, and composition in series."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from ..linalg import AbstractRows
from ._traced import linearise_traced
from .plan import Plan, plan_of

Pull = Callable[[Float[Array, "N R ..."]], tuple[tuple[AbstractRows, ...], Float[Array, "N R ..."]]]
"""From costates at a module's outputs to the row factor of each of its blocks, and the costates at its inputs.

With `A = dz_out/dz_in` and `B = dz_out/dw` it is `L -> (L B, L A)`, for a bundle of `R` costates per sample at once.
The gradient's costate is such a bundle with one row, the metric's factor one with a row for each output.
"""


class AbstractModule(eqx.Module):
    """A map from one sample to one output, the pytree of its own parameters.

    Subclasses give `__call__` for one sample; the linearisation for a batch is found by tracing it, unless they know a
    better one. `a >> b` is first `a`, then `b`.

    Reference: Pehle & Slotine, "Riemannian Optimization in Modular Systems", arXiv:2603.03610.
    """

    @abc.abstractmethod
    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """The output for one sample."""

    def linearise(self, inputs: Float[Array, "N ..."]) -> tuple[Float[Array, "N ..."], Pull]:
        """The outputs of a batch, and the map that pulls costates back through the module, as `jax.vjp` does."""
        return linearise_traced(self, inputs)

    def plan(self, sample: Any) -> Plan:
        """Which leaf has row factors of which kind for samples like this one; print it to see what costs most."""
        return plan_of(self, sample)

    def __rshift__(self, other: "AbstractModule") -> "Series":
        require_module("module", other)
        return Series((*_layers(self), *_layers(other)))


class Series(AbstractModule):
    """Modules one after the other.

    Args:
        layers: the modules, in the order in which a sample meets them.

    Raises:
        ValueError: if a layer is not a module of flowmod.

    Example:
        ```python
        net = fm.Linear(64, 32, key=k1) >> fm.Pointwise(jnp.tanh) >> fm.Linear(32, 10, key=k2)
        net.layers[0].weight.shape  # (32, 64)
        ```
    """

    layers: tuple[AbstractModule, ...]

    def __check_init__(self):
        for layer in self.layers:
            require_module("layers", layer)

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        for layer in self.layers:
            z = layer(z)
        return z

    def linearise(self, inputs: Float[Array, "N ..."]) -> tuple[Float[Array, "N ..."], Pull]:
        z, pulls = inputs, []
        for layer in self.layers:
            z, pull = layer.linearise(z)
            pulls.append(pull)

        def pull_all(costates):
            factors: tuple[AbstractRows, ...] = ()
            for pull_layer in reversed(pulls):
                own, costates = pull_layer(costates)
                factors = own + factors
            return factors, costates

        return z, pull_all


def _layers(module: AbstractModule) -> tuple[AbstractModule, ...]:
    return module.layers if isinstance(module, Series) else (module,)


def require_module(argument: str, module: Any) -> None:
    """Raise a `ValueError` that names the argument unless it is a module of flowmod."""
    if not isinstance(module, AbstractModule):
        raise ValueError(
            f"`{argument}` must be a module of flowmod, got {type(module).__name__}. Wrap an Equinox module as "
            "`fm.wrap(module)`, a function of each number as `fm.Pointwise(fn)`."
        )
