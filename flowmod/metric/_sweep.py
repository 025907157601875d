"""One forward pass and one backward sweep for value, gradient and metric step of a supervised problem.

The gradient's costate and the rows of the output metric are pulled back through the same linearisation.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._tree import dot, floats, negative, where_finite
from .._typing import Args, Covector, State, Vector
from ..linalg import AbstractRows, Solution
from ..linalg import Covector as CovectorParts
from ..loss import Supervised, cast_samples
from ..module import complete
from ._modular import AbstractModularMetric, Operator, usable


class Descent(NamedTuple):
    """A gradient, and the solve of a modular metric with it.

    Attributes:
        value: the potential, a scalar.
        covector: its gradient, a tree like the state's float leaves.
        operator: the metric there.
        solution: the metric's solve with the gradient, converged or not.
    """

    value: Float[Array, ""]
    covector: Covector
    operator: Operator
    solution: Solution

    @property
    def vector(self) -> Vector:
        """The descent vector; NaN if the solve did not converge."""
        return negative(usable(self.solution))


def shares_sweep(potential: Supervised, metric: AbstractModularMetric) -> bool:
    """Whether a potential and a metric have the same module on the same data."""
    ours, theirs = (jax.tree.flatten(problem.template) for problem in (potential, metric))
    same_module = ours[1] == theirs[1] and all(map(_same, ours[0], theirs[0]))
    return same_module and metric.inputs is potential.inputs


def _same(leaf: Any, other: Any) -> bool:
    return leaf is other or (not isinstance(leaf, jax.Array | np.ndarray) and leaf == other)


class Sweep(NamedTuple):
    """What one sweep through a module gives.

    Attributes:
        value: the potential, a scalar.
        covector: its gradient, and what of it is known to lie in the range of the factors.
        factors: the row factor of each layer.
    """

    value: Float[Array, ""]
    covector: CovectorParts
    factors: tuple[AbstractRows, ...]

    def given(self, gradients: Covector) -> CovectorParts:
        """Other gradients: a multiple of the potential's own, as clipped ones are, and the difference from it.

        The multiple keeps what is known of the own ones; the difference is zero, or rounding, if they are the same.
        """
        own = self.covector
        square = dot(own.whole, own.whole)
        scale = jnp.where(square > 0, dot(gradients, own.whole) / jnp.where(square > 0, square, 1), 1)

        def remaining(part, new, old):
            factor = scale.astype(old.dtype)
            return factor * part + (new - factor * old)

        rest = jax.tree.map(remaining, own.rest, gradients, own.whole)
        residual = None if own.residual is None else scale.astype(own.residual.dtype) * own.residual
        return CovectorParts(gradients, rest, residual)


def sweep(problem: Supervised, metric: AbstractModularMetric, y: State, args: Args) -> Sweep:
    """Value, gradient and factors of a problem and a metric that share their module and data."""
    inputs, targets = problem.batch(args)
    module = complete(problem.template, y)
    outputs, pull = module.linearise(cast_samples(inputs, module))
    if problem.inputs is None:
        problem.check_outputs(outputs, targets)  # fixed ones were checked when they were given
    n = outputs.shape[0]
    losses, costates = jax.vmap(jax.value_and_grad(problem.loss))(outputs, targets)
    factors = metric.pulled(pull, outputs, targets)
    penalty, penalty_slope = jax.value_and_grad(lambda leaves: problem.penalty(leaves, args))(floats(y))
    owners = metric.owners

    def pulled(costates):
        factors, _ = pull(costates[:, None] / n)
        ones = jnp.ones((), outputs.dtype)
        parts = tuple(factor.rmv(jnp.broadcast_to(ones, factor.row_shape)) for factor in factors)
        return owners.join(parts, floats(y))

    gradient = jax.tree.map(jnp.add, pulled(costates), penalty_slope)
    coordinates = metric.output.coordinates(problem.loss, outputs, costates)
    if coordinates is None:
        covector = CovectorParts(gradient, gradient)
    else:
        residual, remainder = coordinates
        rest = jax.tree.map(jnp.add, pulled(remainder), penalty_slope)
        covector = CovectorParts(gradient, rest, residual * n**-0.5)
    return Sweep(jnp.mean(losses) + penalty, covector, factors)


def layerwise_descent(problem: Supervised, metric: AbstractModularMetric, y: State, args: Args) -> Descent:
    """Value, gradient, and the solve of the metric with it."""
    found = sweep(problem, metric, y, args)
    operator = metric.assemble(found.factors, y)
    covector = where_finite(found.value, found.covector.whole)
    return Descent(found.value, covector, operator, metric.solve(operator, found.covector))
