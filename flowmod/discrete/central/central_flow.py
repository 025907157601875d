"""The central flow: what the iterates of an optimizer do on average when it is at its edge of stability."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._tree import dtype_of, is_traced, ravel, size, unraveler
from ..._typing import Args, Potential, State, Vector
from ...flow import AbstractFlow, GradientFlow, Units, require_flow
from ...linalg import extreme_eigenpairs, random_start
from ...metric import AbstractMetric, ConstantMetric, Euclidean, hessian_product, metric_products
from ..limits import bears
from ._average import Average, Threshold, average

METHODS = ("euler", "heavy_ball")


class CentralFlow(AbstractFlow):
    """What `central_flow` makes: `y' = -s M^-1 (df + d<H, Sigma> / 2)`, `s = 1 / (1 - momentum)`.

    Attributes:
        flow: the gradient flow whose optimizer it follows; potential, metric and units are its.
        step_size: the time of one step of the optimizer.
        method: the optimizer.
        momentum: its momentum, zero for `"euler"`.
        directions: how many critical directions there may be.
        relaxation: the time in which a curvature above the threshold is brought back, in steps of the optimizer.
    """

    flow: GradientFlow
    step_size: float = eqx.field(static=True)
    method: str = eqx.field(static=True)
    momentum: float = eqx.field(static=True)
    directions: int = eqx.field(static=True)
    relaxation: float = eqx.field(static=True)
    balanced: ClassVar[bool] = False

    def __init__(
        self, flow: GradientFlow, step_size: float, method: str, momentum: float, directions: int, relaxation: float
    ):
        self.flow = flow
        self.step_size = step_size
        self.method = method
        self.momentum = momentum
        self.directions = directions
        self.relaxation = relaxation

    @property
    def potential(self) -> Potential:
        return self.flow.potential

    @property
    def metric(self) -> AbstractMetric:
        return self.flow.metric

    @property
    def units(self) -> Units:
        return self.flow.units

    @property
    def threshold(self) -> float:
        """The largest stable curvature, an eigenvalue of `M^-1 H` in 1/time: `2 (1 + momentum) / step_size`."""
        return bears(self.method, self.momentum if self.method == "heavy_ball" else None) / self.step_size

    @property
    def speed(self) -> float:
        """Of the averaged iterates, relative to the gradient flow's: `1 / (1 - momentum)`."""
        return 1 / (1 - self.momentum)

    def threshold_in(self, dtype: Any) -> Threshold:
        """What the averaged velocity needs to know of the optimizer, in the precision of a state."""
        numbers = (self.threshold, self.relaxation * self.step_size, self.speed)
        return Threshold(*(jnp.asarray(number, dtype) for number in numbers))

    def vector_field(self, t, y: State, args: Args = None) -> Vector:
        return unraveler(y)(self.average(t, y, args)[0].velocity)

    def average(self, t, y: State, args: Args = None) -> tuple[Average, Float[Array, "k n"]]:
        """The averaged motion at a state, and the leading eigenvectors that its covariance is in, found anew."""
        mass, solve = metric_products(self.metric.at(t), y, args)
        n, dtype = size(y), ravel(y).dtype
        products = (hessian_product(self.potential, y, args), mass, solve)
        most = 100 * (2 + self.directions)
        count = min(self.directions, n)
        pairs = extreme_eigenpairs(*products, random_start(n, dtype), largest=count, precision=dtype_of(y), most=most)
        values = jnp.where(pairs.converged, pairs.values, jnp.nan)
        found = average(self.potential, solve, y, args, values, pairs.vectors, self.threshold_in(dtype))
        # A comparison with a curvature that is not known is false, and would pass for a flow below its edge.
        known = jnp.where(jnp.all(jnp.isfinite(values)), 1, jnp.nan).astype(dtype)
        return found._replace(velocity=found.velocity * known), pairs.vectors

    def position(self, y: State) -> State:
        return y

    def energy(self, t, y: State, args: Args = None):
        return self.potential(y, args)

    def dissipation(self, t, y: State, velocity: Vector, args: Args = None):
        return self.metric.at(t).inner(y, velocity, velocity, args) / self.speed


def central_flow(
    flow: GradientFlow,
    step_size: float,
    method: str = "euler",
    momentum: float | None = None,
    *,
    directions: int = 1,
    relaxation: float = 0.5,
    slow_metric: bool = False,
) -> CentralFlow:
    """The flow of an optimizer's averaged iterates, at and beyond its edge of stability.

    Where the largest eigenvalue of `M^-1 H` reaches what the optimizer bears, `2 / h` for gradient descent, the
    iterates oscillate along its eigenvector, and on average they feel the potential of a cloud with the oscillation's
    covariance `Sigma`: `f + <H, Sigma> / 2`. The oscillation grows until the slope of `<H, Sigma>` keeps the curvature
    from rising further. So `Sigma` solves a complementarity problem over positive semidefinite matrices: it is not zero
    only along directions at the threshold, of which there may be several. Below the threshold this is the gradient
    flow, `1 / (1 - momentum)` times as fast.

    A curvature above the threshold, such as at a start that is too steep, is brought back within the time
    `relaxation * step_size`; this is the stiffest time of the flow. Each evaluation finds the leading eigenpairs
    anew, so that the flow has no memory and `fm.simulate` runs it; `fm.edge_of_stability` carries them along, which is
    much cheaper.

    The formula holds for a metric that does not depend on the state. For one that varies slowly, ask for it by
    `slow_metric=True`: derivatives of the metric are then left out. For others there is the experimental
    `fm.averaged_flow`. Third derivatives are those of automatic differentiation: for a network of `relu` they are what
    is found between the kinks, and the curvature that the kinks have on average is missing. A potential of third
    derivatives zero has nothing that could hold its curvature back: beyond the threshold, where the optimizer diverges,
    the velocity is NaN.

    Args:
        flow: the gradient flow.
        step_size: the time `h` of one step of the optimizer, positive: iterate `n` is at the time `n h`.
        method: `"euler"`, gradient descent in the metric, or `"heavy_ball"`,
            `y+ = y - h M^-1 grad f + momentum (y - y-)`.
        momentum: a number in [0, 1), for `"heavy_ball"`.
        directions: the most directions that are critical at once. If more are, their curvature is not held back.
        relaxation: in steps of the optimizer.
        slow_metric: whether to leave out how a metric changes with the state.

    Returns:
        A `CentralFlow`, for `fm.simulate` and wherever a flow is taken.

    Raises:
        ValueError: if an argument is out of range, `flow` is no gradient flow, or its metric is not known to be
            constant and `slow_metric` is not given.

    Reference: J. M. Cohen, A. Damian, A. Talwalkar, J. Z. Kolter, J. D. Lee, "Understanding optimization in deep
    learning with central flows", arXiv:2410.24206.
    """
    _check_flow(flow, slow_metric)
    for name, value in (("step_size", step_size), ("relaxation", relaxation)):
        if not is_positive(value):
            raise ValueError(f"`{name}` must be a positive, finite number, got {value!r}.")
    if method not in METHODS:
        raise ValueError(f"`method` must be {' or '.join(map(repr, METHODS))}, got {method!r}: no other is known here.")
    bears(method, momentum)
    if isinstance(directions, bool) or not isinstance(directions, int | np.integer) or directions < 1:
        raise ValueError(f"`directions` must be a whole number from 1, got {directions!r}.")
    kept = 0.0 if momentum is None else float(momentum)
    return CentralFlow(flow, float(step_size), method, kept, int(directions), float(relaxation))


def is_positive(value: Any) -> bool:
    """Whether it is a positive, finite number that is known."""
    is_number = not is_traced(value) and np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"
    return is_number and 0 < float(value) < math.inf


def _check_flow(flow: Any, slow_metric: bool) -> None:
    require_flow(flow)
    if not isinstance(flow, GradientFlow):
        raise ValueError(
            f"`flow` must be a gradient flow, got {type(flow).__name__}: take `fm.GradientFlow(potential, metric)`, "
            'and `method="heavy_ball"` for an optimizer with momentum.'
        )
    if not slow_metric and not isinstance(flow.metric, Euclidean | ConstantMetric):
        raise ValueError(
            f"`flow` must have a constant metric, `fm.Euclidean` or `fm.ConstantMetric`, got "
            f"{type(flow.metric).__name__}: the averaged equation of one that varies has derivatives of it. Freeze it, "
            "`fm.ConstantMetric(metric(y0))`, or leave them out, `slow_metric=True`, where it varies slowly."
        )
