"""The fixed step, and the momentum, with which the slowest direction of a minimum decays fastest."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import eigh

from ..._tree import as_state, dtype_of, is_traced, ravel, size, traced_numbers
from ..._typing import Args, State
from ...flow import GradientFlow
from ...metric import hessian_product, metric_products
from .leading_curvature import curvatures_at, require_descent
from .step_limit import CURE, require_curvature

_DENSE = 1000
"""Numbers of the state up to which all curvatures are worked out; above, Lanczos estimates the two at the ends."""


@dataclasses.dataclass(frozen=True)
class OptimalStep:
    """The best fixed step of a method on curvatures from `smallest` to `largest`.

    Attributes:
        method: the method.
        step_size: the step, in the flow's unit of time.
        momentum: the momentum; `None` for a method without.
        factor: what a step multiplies the slowest perturbation by, in the long run; below one.
        smallest: the smallest eigenvalue of `M^-1 H`, 1/time.
        largest: the largest.
    """

    method: str
    step_size: float
    momentum: float | None
    factor: float
    smallest: float
    largest: float

    @property
    def condition(self) -> float:
        """`largest / smallest`."""
        return self.largest / self.smallest

    def __str__(self) -> str:
        momentum = "" if self.momentum is None else f", momentum {self.momentum:.4g}"
        return (
            f"{self.method}: step size {self.step_size:.4g}{momentum}: a factor of {self.factor:.4g} per step, for "
            f"curvatures from {self.smallest:.4g} to {self.largest:.4g}"
        )


def optimal_step(
    flow: GradientFlow, y: State, method: str = "euler", *, t: Any = 0.0, args: Args = None
) -> OptimalStep:
    """The fixed step, and the momentum, of the fastest convergence to a minimum of a potential in its metric.

    With `m` and `L` the smallest and the largest eigenvalue of `M^-1 H` at the minimum and `k = L / m`: for Euler
    `h = 2 / (m + L)`, with which a step takes perturbations to `(k - 1) / (k + 1)`; for heavy ball
    `h = 4 / (sqrt L + sqrt m)^2` and `momentum = ((sqrt k - 1) / (sqrt k + 1))^2`, whose factor is the root of the
    momentum: `sqrt k` times fewer steps. It is an optimum of the linearisation: far away it promises nothing.

    Args:
        flow: the gradient flow.
        y: a minimum, or a state with curvatures like those of the minimum.
        method: `"euler"` or `"heavy_ball"`.
        t: the time, for a metric that moves.
        args: handed to the potential and to the metric.

    Returns:
        An `OptimalStep`. For more than 1000 numbers the eigenvalues are Lanczos estimates from inside of the spectrum.

    Raises:
        ValueError: if the flow is no gradient flow, `method` is another, something is traced, or the smallest
            curvature is not positive, so that no step converges.
        RuntimeError: if Lanczos did not converge, with its residual and its products.

    Reference: B. T. Polyak, "Some methods of speeding up the convergence of iteration methods" (1964).
    """
    if method not in _OPTIMA:
        raise ValueError(f'`method` must be "euler" or "heavy_ball", whose optimum is known, got {method!r}.')
    y = as_state("y", y)
    require_descent(flow)
    if is_traced(flow, y, t, args):
        raise ValueError("`y` is traced, and an optimal step is of concrete numbers: call it outside of `jit`.")
    smallest, largest, scale = _extremes(flow, traced_numbers(t), y, traced_numbers(args))
    require_curvature(largest, scale)
    if not smallest > size(y) * jnp.finfo(dtype_of(y)).eps * largest:
        raise ValueError(
            f"`y` must be a state with positive curvature in all directions, and the smallest is {smallest:.4g}, the "
            f"largest {largest:.4g}: no fixed step converges in all of them. Take a minimum, or add "
            "`fm.WeightDecay` to a loss that is flat."
        )
    step_size, momentum, factor = _OPTIMA[method](smallest, largest)
    return OptimalStep(method, step_size, momentum, factor, smallest, largest)


def _extremes(flow: GradientFlow, t: Any, y: State, args: Args) -> tuple[float, float, float]:
    """The smallest and the largest curvature, and the largest modulus."""
    if size(y) <= _DENSE:
        # The matrix of the operator is no longer than a search for a small eigenvalue beside large ones.
        hessian, mass = map(np.asarray, _pencil_at_state(flow, t, y, args))
        if not (np.isfinite(hessian).all() and np.isfinite(mass).all()):
            return math.nan, math.nan, math.nan
        try:
            values = eigh((hessian + hessian.T) / 2, (mass + mass.T) / 2, eigvals_only=True)
        except np.linalg.LinAlgError:  # the metric is not positive definite
            return math.nan, math.nan, math.nan
        return float(values[0]), float(values[-1]), float(np.abs(values).max())
    pairs = _curvatures_at_state(flow, t, y, args, None, 1)
    worst = pairs.leading._replace(residual=jnp.max(pairs.residuals))
    worst.require_converged(CURE)
    smallest, largest = sorted(map(float, pairs.values))  # equal ones may be out of order by rounding
    return smallest, largest, float(pairs.scale)


def _pencil(flow: GradientFlow, t: Any, y: State, args: Args) -> tuple[Any, Any]:
    flat = ravel(y)
    mass = metric_products(flow.metric.at(t), y, args)[0]
    products = hessian_product(flow.potential, y, args), mass
    hessian, mass = (jax.lax.map(product, jnp.eye(flat.size, dtype=flat.dtype)) for product in products)
    return hessian, mass


_curvatures_at_state = eqx.filter_jit(curvatures_at)
_pencil_at_state = eqx.filter_jit(_pencil)


def _euler(m: float, L: float) -> tuple[float, None, float]:
    return 2 / (m + L), None, (L - m) / (L + m)


def _heavy_ball(m: float, L: float) -> tuple[float, float, float]:
    factor = (math.sqrt(L) - math.sqrt(m)) / (math.sqrt(L) + math.sqrt(m))
    return 4 / (math.sqrt(L) + math.sqrt(m)) ** 2, factor**2, factor


_OPTIMA = {"euler": _euler, "heavy_ball": _heavy_ball}
