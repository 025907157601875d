"""One forward pass and one backward sweep for value, gradient and metric step of a supervised problem.

The gradient's costate and the rows of the output metric are pulled back through the same linearisation.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._tree import floats, where_finite
from .._typing import Args, Covector, State
from ..linalg import Solution
from ..loss import Supervised, cast_samples, residual_coordinates
from ..module import complete
from .layerwise import LayerwiseMetric


def shares_sweep(potential: Supervised, metric: LayerwiseMetric) -> bool:
    """Whether a potential and a metric have the same module on the same data."""
    ours, theirs = (jax.tree.flatten(problem.template) for problem in (potential, metric))
    same_module = ours[1] == theirs[1] and all(a is b or a == b for a, b in zip(ours[0], theirs[0], strict=True))
    return same_module and metric.inputs is potential.inputs


def layerwise_descent(
    problem: Supervised, metric: LayerwiseMetric, y: State, args: Args
) -> tuple[Float[Array, ""], Covector, Solution]:
    """Value, gradient, and the solve of the metric with it."""
    inputs, targets = problem.batch(args)
    module = complete(problem.template, y)
    outputs, pull = module.linearise(cast_samples(inputs, module))
    n = outputs.shape[0]
    losses, costates = jax.vmap(jax.value_and_grad(problem.loss))(outputs, targets)
    operator = metric.operator(pull, outputs, targets, y)
    penalty, penalty_slope = jax.value_and_grad(lambda leaves: problem.penalty(leaves, args))(floats(y))
    value = jnp.mean(losses) + penalty

    def pulled(costates):
        factors, _ = pull(costates[:, None] / n)
        ones = jnp.ones((n, 1), outputs.dtype)
        return operator.blocks.join(tuple(factor.rmv(ones) for factor in factors), operator.like)

    gradient = jax.tree.map(jnp.add, pulled(costates), penalty_slope)
    coordinates = residual_coordinates(metric.output, problem.loss, outputs, costates)
    if coordinates is None or metric.iterates(operator):
        solution = metric.solve(operator, gradient)
    else:
        residual, remainder = coordinates
        others = jax.tree.map(jnp.add, pulled(remainder), penalty_slope)
        solution = metric.solve(operator, others, residual * n**-0.5)
    return value, where_finite(value, gradient), solution
