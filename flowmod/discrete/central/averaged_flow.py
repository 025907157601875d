"""The averaged equation of gradient descent in a metric that depends on the state: experimental."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from ..._tree import combine, ravel, size, unraveler
from ..._typing import Args, Potential, State, Vector
from ...flow import AbstractFlow, GradientFlow, Units, require_flow
from ...metric import AbstractMetric
from .central_flow import is_positive

_NEAR = 0.95
"""Of the threshold, as for the central flow."""

_LARGEST = 500
"""Numbers of the state: the Jacobian is formed, and its eigenvalues are those of a general matrix."""


class Oscillation(NamedTuple):
    """What oscillates, and how strongly.

    Attributes:
        eigenvalue: the smallest real part of those of `v'`, in 1/time: `-2 / h` at the edge.
        direction: its eigenvector, of length one, (n,).
        variance: of the oscillation along it.
    """

    eigenvalue: Float[Array, ""]
    direction: Float[Array, " n"]
    variance: Float[Array, ""]


class AveragedFlow(AbstractFlow):
    """What `averaged_flow` makes: `y' = v + v''[Sigma] / 2` with `Sigma` along one direction."""

    flow: GradientFlow
    step_size: float = eqx.field(static=True)
    relaxation: float = eqx.field(static=True)
    balanced: ClassVar[bool] = False

    def __init__(self, flow: GradientFlow, step_size: float, relaxation: float):
        self.flow = flow
        self.step_size = step_size
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

    def vector_field(self, t, y: State, args: Args = None) -> Vector:
        return unraveler(y)(self.average(t, y, args)[0])

    def average(self, t, y: State, args: Args = None) -> tuple[Float[Array, " n"], Oscillation]:
        """The averaged velocity, flat, and the oscillation that it is averaged over."""
        if size(y) > _LARGEST:
            raise ValueError(
                f"`y` must have at most {_LARGEST} numbers, got {size(y)}: `fm.central_flow` has no such limit, for a "
                "metric that is constant or varies slowly."
            )
        unravel = unraveler(y)

        def velocity(x):
            return ravel(self.flow.vector_field(t, combine(unravel(x), y), args))

        def bent(u, w):
            return jax.jvp(lambda x: jax.jvp(velocity, (x,), (u,))[1], (ravel(y),), (w,))[1]

        x = ravel(y)
        drift = velocity(x)
        values, rights = jnp.linalg.eig(jax.jacfwd(velocity)(x))
        eigenvalue, right, left, real = _fastest(values, rights)
        threshold = 2 / self.step_size
        curve = bent(right, right)
        # The eigenvalue as it will be after the relaxation, without the oscillation and for a variance of one.
        tau = self.relaxation * self.step_size
        margin = eigenvalue + threshold + tau * (left @ bent(right, drift))
        gain = tau * (left @ bent(right, curve)) / 2
        needed = (eigenvalue < -_NEAR * threshold) & (margin < 0)
        variance = jnp.where(needed, -margin / jnp.where(gain > 0, gain, jnp.nan), 0.0)
        held = (real | ~needed) & ~_spirals(self.step_size * values)
        variance = jnp.where(jnp.isfinite(drift).all() & held, variance, jnp.nan)
        return drift + variance * curve / 2, Oscillation(eigenvalue, right, variance)

    def position(self, y: State) -> State:
        return y

    def energy(self, t, y: State, args: Args = None):
        return self.potential(y, args)

    def dissipation(self, t, y: State, velocity: Vector, args: Args = None):
        return self.metric.at(t).inner(y, velocity, velocity, args)


def averaged_flow(flow: GradientFlow, step_size: float, *, relaxation: float = 0.5) -> AveragedFlow:
    """The averaged iterates of gradient descent in a metric that depends on the state. Experimental.

    Averaging `y+ = y + h v(y)` over a small oscillation with the covariance `Sigma` gives `y' = v + v''[Sigma] / 2`.
    With `v = -M^-1 df` that holds the derivatives of `M^-1`, which `fm.central_flow` leaves out. The oscillation is
    along the eigenvector of `I + h v'` for the eigenvalue -1, and as strong as keeps that eigenvalue from falling
    further. For a constant metric and one critical direction this is the central flow.

    Terms of the fourth order in the oscillation are left out: its variance must be small beside the square of the
    length over which the metric changes. In the one case that is tested, a drift through a metric that is 8 % larger
    where the oscillation turns, its rate is right up to the square of that share, and the central flow's up to the
    share itself. One direction only, and the whole Jacobian with its eigenvalues is formed at each evaluation: for
    states of up to a few hundred numbers, and on a CPU only.

    Args:
        flow: the gradient flow, with any metric.
        step_size: the time `h` of one step of the optimizer, positive.
        relaxation: the time in which an eigenvalue beyond the threshold is brought back, in steps of the optimizer.

    Returns:
        An `AveragedFlow`. Its velocity is NaN where a complex pair of eigenvalues is critical, damped by the flow and
        not by a step, or where no oscillation holds the eigenvalue back.

    Raises:
        ValueError: if an argument is out of range or `flow` is no gradient flow; when evaluated, if the state is large.
    """
    require_flow(flow)
    if not isinstance(flow, GradientFlow):
        raise ValueError(f"`flow` must be a gradient flow, got {type(flow).__name__}: `fm.GradientFlow(f, metric)`.")
    for name, value in (("step_size", step_size), ("relaxation", relaxation)):
        if not is_positive(value):
            raise ValueError(f"`{name}` must be a positive, finite number, got {value!r}.")
    return AveragedFlow(flow, float(step_size), float(relaxation))


def _fastest(values: Complex[Array, " n"], rights: Complex[Array, "n n"]) -> tuple[Any, ...]:
    """The eigenvalue of the smallest real part, its right and left eigenvectors, and whether they are real."""
    at = jnp.argmin(values.real)
    real = ~_is_complex(values[at])
    right = rights[:, at].real
    right = right / jnp.linalg.norm(right)
    # The row of the inverse that belongs to it, by one solve: left^T rights = e_at.
    unit = jnp.zeros(len(values), values.dtype).at[at].set(1)
    left = jnp.linalg.solve(rights.T, unit).real
    return values[at].real, right, left / (left @ right), real


def _spirals(steps: Complex[Array, " n"]) -> Array:
    """Whether some `1 + h l` of a complex pair is longer than one though the flow damps it, from all `h l`."""
    growth = 2 * steps.real + jnp.abs(steps) ** 2  # |1 + h l|^2 - 1
    # A double eigenvalue of zero is a complex pair after rounding, which is no growth.
    return jnp.any(_is_complex(steps) & (steps.real < 0) & (growth > 100 * jnp.finfo(growth.dtype).eps))


def _is_complex(values: Array) -> Array:
    return jnp.abs(values.imag) > 1e-6 * jnp.abs(values)
