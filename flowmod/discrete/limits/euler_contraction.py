"""With which steps explicit Euler contracts: from a rate and a Lipschitz constant in one norm."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import as_state
from ..._typing import Args, State
from ...flow import AbstractFlow, require_flow
from ...linalg import as_norm, in_factor, matrix_measure
from ...metric import ConstantMetric, Euclidean, asymmetry, tolerance
from ...simulate import Ensemble, Trajectory
from ._field_limit import dense_jacobian, require_finite
from ._states import states_of


@dataclasses.dataclass(frozen=True)
class EulerContraction:
    """How `y+ = y + h v(y)` brings neighbours together: `|I + h J| <= factor_at(h)` where `mu(J) <= -c`, `|J| <= b`.

    What is known of the norm decides how much follows from the two constants:

    - `"exact"`: in the norms 1 and infinity, and in the norm 2 for symmetric `J`, `|I + h J|` is the larger one of
      `1 - c h` and `b h - 1`. In the norms 1 and infinity the first one up to `h = 1 / max |J_ii|` in any case.
    - `"euclidean"`: in the norm 2 `|I + h J|` is at most `sqrt(1 - 2 c h + b^2 h^2)`, and some matrices attain it.
    - `"any"`: in whatever norm it is at most `(1 + b^2 h^2) / (1 + c h)`.

    Of constants that hold in a convex region, the factor is one for distances between all states in it.

    Attributes:
        rate: `c`, 1/time.
        lipschitz: `b`, 1/time, at least the rate.
        kind: which of the three.

    Raises:
        ValueError: if a constant is no number, `lipschitz` is less than the rate, or `kind` is another.

    Example:
        ```python
        fm.EulerContraction(rate=1.0, lipschitz=3.0, kind="any").limit  # 1/9
        ```

    Reference: C. Desoer and H. Haneda, "The measure of a matrix as a tool to analyze computer algorithms for circuit
    analysis" (1972), for the measure `mu`.
    """

    rate: float
    lipschitz: float
    kind: str = "any"

    def __post_init__(self):
        if self.kind not in ("exact", "euclidean", "any"):
            raise ValueError(f'`kind` must be "exact", "euclidean" or "any", got {self.kind!r}.')
        for name in ("rate", "lipschitz"):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or np.ndim(value)
                or np.asarray(value).dtype.kind not in "iuf"
                or np.isinf(value)
            ):
                raise ValueError(f"`{name}` must be a number in 1/time, got {value!r}.")
            object.__setattr__(self, name, float(value))
        # Both may come from a computation, where they are equal up to rounding.
        if self.lipschitz < 0 or abs(self.rate) > (1 + 1e-6) * self.lipschitz:
            raise ValueError(
                f"`lipschitz` must be at least {abs(self.rate):g}, the modulus of the rate, got {self.lipschitz:g}: no "
                "measure of a matrix is larger than its norm."
            )

    @property
    def limit(self) -> float:
        """The step below which all contract: zero if the flow itself does not, NaN if a constant is."""
        c, b = self.rate, self.lipschitz
        if not c > 0:
            return 0 * (c + b)
        return {"exact": 2 / b, "euclidean": 2 * c / b**2, "any": c / b**2}[self.kind]

    @property
    def best_step(self) -> float:
        """The step with the smallest factor: zero if the flow does not contract."""
        c, b = self.rate, self.lipschitz
        if not c > 0:
            return 0 * (c + b)
        slowed = 1 + math.sqrt(1 + (c / b) ** 2)
        return {"exact": 2 / (c + b), "euclidean": c / b**2, "any": c / b**2 / slowed}[self.kind]

    @property
    def factor(self) -> float:
        """The factor of the best step: one if the flow does not contract."""
        return self.factor_at(self.best_step)

    def factor_at(self, step_size: float) -> float:
        """By what a step multiplies distances at most; exactly that, at one state, if the kind is `"exact"`."""
        c, b, h = self.rate, self.lipschitz, step_size
        if self.kind == "exact":
            # No norm of I + h J is below 1 + h mu or h |J| - 1. A row of the norm infinity with d = -J_ii, r the sum of
            # its other moduli, is |1 - h d| + h r: 1 - h (d - r) up to h = 1/d, and h (d + r) - 1 from there.
            return float(np.maximum(1 - c * h, b * h - 1))
        if self.kind == "euclidean":
            return float(np.sqrt(np.maximum(1 - 2 * c * h + (b * h) ** 2, 0)))
        # The bound comes from (I - h J)^-1, which exists while 1 + c h is positive.
        return math.inf if 1 + c * h <= 0 else (1 + (b * h) ** 2) / (1 + c * h)

    def __str__(self) -> str:
        if not self.rate > 0:
            return f"EulerContraction: no step contracts, the flow's own rate is {self.rate:.4g}"
        return (
            f"EulerContraction ({self.kind}): rate {self.rate:.4g}, Lipschitz {self.lipschitz:.4g}: all steps below "
            f"{self.limit:.4g} contract, {self.best_step:.4g} by a factor of {self.factor:.4g}"
        )


def euler_contraction(
    flow: AbstractFlow,
    y: State | Trajectory,
    norm: float = 2,
    *,
    factor: Any = None,
    t: Any = 0.0,
    args: Args = None,
) -> EulerContraction:
    """With which steps explicit Euler contracts, from the Jacobian at a state or at all states of a trajectory.

    The Jacobian is formed. It is measured and not certified: of a trajectory the smallest rate and the largest norm
    at its states count, and what lies between them is not known. For constants that hold in a region make an
    `fm.EulerContraction` of them.

    Args:
        flow: the flow.
        y: a state, or a `Trajectory` of this flow.
        norm: 1, 2 or `jnp.inf`.
        factor: `Theta` of the norm `|Theta x|`, an (n, n) matrix or (n,) weights. By default that of the flow's own
            metric `Theta^T Theta` if it is a constant one, and the identity for a flow without a metric.
        t: the time of a state; a trajectory brings its own.
        args: handed to the flow.

    Returns:
        An `EulerContraction`, `"exact"` in the norms 1 and infinity, and in the norm 2 if every Jacobian is symmetric
        (as that of a gradient flow in its constant metric), else `"euclidean"`. NaN along a trajectory with a state at
        which the field is not finite.

    Raises:
        ValueError: if `norm` or `factor` is another, the flow's own metric depends on the state or, in the norms 1 and
            infinity, is not diagonal and no `factor` is given, the Jacobian at a state is not finite, or the state has
            more than 1000 numbers.
    """
    require_flow(flow)
    norm = as_norm(norm)
    if isinstance(y, Ensemble):
        raise ValueError("`y` must be a state or a Trajectory, got an Ensemble: take a member, `ensemble[0]`.")
    along = isinstance(y, Trajectory)
    if along and len(y) == 0:
        raise ValueError("`y` must be a trajectory with at least one state, got one of none.")
    found = []
    for time, state in states_of(y) if along else [(t, as_state("y", y))]:
        jacobian = dense_jacobian(flow, time, state, args)
        if not along:
            require_finite(flow, jacobian)
        theta = _own_factor(flow, state, norm, args) if factor is None else factor
        found.append(_constants(jacobian, theta, norm))
    rates, norms, symmetric = map(np.array, zip(*found, strict=True))
    kind = "exact" if norm != 2 or symmetric.all() else "euclidean"
    return EulerContraction(float(rates.min()), float(norms.max()), kind)


def _constants(jacobian: np.ndarray, theta: Any, norm: float) -> tuple[float, float, bool]:
    """Rate and norm of `Theta J Theta^-1`, and whether it is symmetric."""
    matrix = jnp.asarray(jacobian)
    matrix = np.asarray(matrix if theta is None else in_factor(matrix, jnp.asarray(theta, matrix.dtype)))
    if not np.isfinite(matrix).all():
        return math.nan, math.nan, False
    symmetric = asymmetry(matrix) <= tolerance(matrix.dtype)
    return -float(matrix_measure(jnp.asarray(matrix), norm)), float(np.linalg.norm(matrix, norm)), bool(symmetric)


def _own_factor(flow: AbstractFlow, y: State, norm: float, args: Args) -> Any:
    """`Theta` of the flow's own constant metric, `None` for the identity."""
    metric = flow.metric
    if metric is None or isinstance(metric, Euclidean):
        return None
    if not isinstance(metric, ConstantMetric):
        raise ValueError(
            f"`factor` must be given, because the metric of the flow, a {type(metric).__name__}, may change from state "
            "to state, and a step has two: a factor is known for constant norms only. Give `factor=Theta`, ones for "
            "the plain norm."
        )
    if jax.tree.structure(flow.position(y)) != jax.tree.structure(y):
        raise ValueError(
            f"`factor` must be given, because the metric of this {type(flow).__name__} is one of positions only, and "
            "its state has velocities too: give `factor=Theta`, a matrix or weights for both."
        )
    matrix = np.asarray(metric(y, args).as_matrix())
    if norm != 2 and np.count_nonzero(matrix - np.diag(np.diag(matrix))):
        raise ValueError(
            "`factor` must be given for `norm=1` and `norm=jnp.inf`, because the metric of the flow is not diagonal: "
            "these norms depend on `Theta` and not on `M = Theta^T Theta` alone."
        )
    return np.linalg.cholesky(matrix).T
