"""What a run itself says about the rate: where neighbours approach each other, the speed along the run falls."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._tree import as_state, combine, dtype_of, floats, is_float_array, is_traced, ravel, traced_numbers, unraveler
from .._typing import Args, State
from ..flow import AbstractFlow, require_flow
from ..metric import AbstractMetric, require_metric
from ..simulate import Ensemble, Trajectory, evaluate_along
from .jacobian import default_metric, unless_own


def rate_bound_from_speed(
    flow: AbstractFlow,
    y: State | Trajectory,
    t: Any = 0.0,
    args: Args = None,
    metric: AbstractMetric | None = None,
) -> Float[Array, ""] | Float[np.ndarray, " times"]:
    """An upper bound of the contraction rate from the run's own speed `|y'|`, for the cost of two derivatives.

    A state a moment later on the same run is a neighbour too, at the distance `|y'|` times that moment. So the rate is
    at most `-(1/2) d/dt log(v^T M v)` with `v = y'`: a rate above it is wrong, and a negative bound says that the flow
    does not contract here in this metric, without any eigenvalue. The derivative is one along the flow, not a
    difference.

    Where the field or a flow's own metric depends on time, the speed changes for that reason too, and says nothing
    about neighbours. The field's time is therefore held fixed in the derivative: what is returned is the growth of the
    distance in the direction of `v`, `-v^T S v / v^T M v`, which bounds the rate of every flow. Of an autonomous one it
    is the derivative above.

    Args:
        flow: the flow.
        y: a state, or a `Trajectory` of this flow.
        t: the time of a state; a trajectory brings its own.
        args: handed to the flow and to the metric.
        metric: the metric; the flow's own by default, else Euclidean.

    Returns:
        The bound in 1/time: a scalar for a state, (T,) for a trajectory. NaN at an equilibrium, where there is no
        direction, and where the metric gives none a length.

    Raises:
        ValueError: if `flow` is no flow, `metric` no metric, or `y` an ensemble.

    Reference: W. Lohmiller and J.-J. E. Slotine, "On contraction analysis for non-linear systems" (1998).
    """
    require_flow(flow)
    if metric is not None:
        require_metric("metric", metric)
    if isinstance(y, Ensemble):
        raise ValueError("`y` must be a state or a Trajectory, got an Ensemble: take a member, `ensemble[0]`.")
    t, args, metric = traced_numbers(t), traced_numbers(args), unless_own(flow, metric)
    if isinstance(y, Trajectory):
        rest = eqx.filter(y.ys, is_float_array, inverse=True)
        return evaluate_along(_bound, y.ts, floats(y.ys), _Operands(flow, args, metric, rest))
    operands = _Operands(flow, args, metric, None)
    y = as_state("y", y)
    return _bound(t, y, operands) if is_traced(t, y, operands) else _bound_at_state(t, y, operands)


class _Operands(NamedTuple):
    flow: AbstractFlow
    args: Args
    metric: AbstractMetric | None
    rest: Any  # the leaves of the state that do not move along a trajectory


def _bound(t, y, operands):
    flow, args, metric, rest = operands
    y = y if rest is None else combine(y, rest)
    now, x, unravel = jnp.asarray(t, dtype=dtype_of(y)), ravel(y), unraveler(y)
    measure = default_metric(flow, y, metric)

    def field(x):
        return ravel(flow.vector_field(now, combine(unravel(x), y), args))

    velocity, turned = jax.jvp(field, (x,), (field(x),))
    # In units of the speed: its square would underflow near an equilibrium.
    scale = jnp.max(jnp.abs(velocity))
    direction = velocity / scale

    def square(t, x, direction):
        return direction @ ravel(measure.at(t).flat(combine(unravel(x), y), unravel(direction), args))

    length, growth = jax.jvp(square, (now, x, direction), (jnp.ones_like(now), velocity, turned / scale))
    return -growth / (2 * jnp.where(length > 0, length, jnp.nan))


_bound_at_state = eqx.filter_jit(_bound)
