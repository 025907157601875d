"""Steepest descent: the gradient of a potential, turned into a vector by a metric."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._tree import cast_like, combine, floats, negative, require_arguments, where_finite
from .._typing import Args, Covector, Potential, State, Vector
from ..linalg import Covector as CovectorParts
from ..loss import Supervised
from ._base import AbstractMetric, require_metric
from ._matrix import state_size
from ._modular import AbstractModularMetric
from ._sweep import Descent, layerwise_descent, shares_sweep


def value_and_covector(potential: Potential, y: State, args: Args = None) -> tuple[Float[Array, ""], Covector]:
    """The potential at `y` and its gradient, a covector, with respect to the float leaves.

    The gradient is NaN where the potential is not finite: it can look sound there, as that of `log(y)` for `y < 0`.
    """

    def scalar(leaves):
        value = jnp.asarray(potential(combine(leaves, y), args))
        if value.shape != ():
            raise ValueError(
                f"`potential` must return a scalar, got an array of shape {value.shape}. "
                "Sum or average over its entries."
            )
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(f"`potential` must return a float, got {value.dtype}.")
        return value

    state_size(y)
    value, covector = jax.value_and_grad(scalar)(floats(y))
    return value, where_finite(value, covector)


def steepest_descent(
    potential: Potential, metric: AbstractMetric, y: State, args: Args = None
) -> tuple[Float[Array, ""], Covector, Vector]:
    """Value, gradient and descent vector of a potential at a state.

    Where a `fm.Supervised` and a layerwise, full or per-sample metric share their module and data, all three come from
    one forward pass and one backward sweep; otherwise the gradient is taken first, and then given to `metric.sharp`. As
    two arguments of a compiled function they no longer show that their data are one: close over them, or pass a
    `fm.GradientFlow`.

    Args:
        potential: `f(y, args)`, a scalar.
        metric: the metric `M` in which "steepest" is measured; for a moving one pass `metric.at(t)`.
        y: the state.
        args: handed to the potential and to the metric.

    Returns:
        `f(y)`, the covector `grad f(y)`, and the vector `-M(y)^-1 grad f(y)`, trees like the float leaves of `y`.

    Raises:
        ValueError: if the potential is no function to a scalar float, or the two are in each other's places.
    """
    if isinstance(potential, AbstractMetric):
        raise ValueError(
            f"`potential` must be a function, got the metric {type(potential).__name__}: the potential comes first, "
            "`fm.steepest_descent(potential, metric, y)`."
        )
    require_arguments("potential", potential, ("y", "args"))
    require_metric("metric", metric)
    if isinstance(metric, AbstractModularMetric):
        descent = modular_descent(potential, metric, y, args)
        value, covector, vector = descent.value, descent.covector, descent.vector
    else:
        value, covector = value_and_covector(potential, y, args)
        vector = negative(metric.sharp(y, covector, args))
    return value, covector, cast_like(vector, floats(y))


def modular_descent(potential: Potential, metric: AbstractModularMetric, y: State, args: Args = None) -> Descent:
    """The same with the metric's solve, by one sweep where potential and metric share their module and data."""
    if isinstance(potential, Supervised) and shares_sweep(potential, metric):
        return layerwise_descent(potential, metric, y, args)
    value, covector = value_and_covector(potential, y, args)
    operator = metric(y, args)
    return Descent(value, covector, operator, metric.solve(operator, CovectorParts(covector, covector)))
