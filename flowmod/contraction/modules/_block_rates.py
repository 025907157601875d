"""Rates of modules, gains between them and the rate of the whole, at one state, by matrices.

With `M` block diagonal and `F = (Theta' + Theta J) Theta^-1`, a block of the diagonal has the rate `-max eig sym F_aa`
and one beside it the gain `k_ab = |F_ab|_2 = |Theta_a J_ab Theta_b^-1|_2`. No factor is differentiated: only blocks of
the diagonal have a `Theta'`, and there the pencil `(S_aa, M_aa)` has the same eigenvalues.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from ..._tree import dtype_of
from ..._typing import Args, State
from ...flow import AbstractFlow
from ...linalg import Blocks
from ...metric import AbstractMetric, asymmetry, tolerance
from ..jacobian import default_metric, linearise


class BlockRates(NamedTuple):
    """What the modules of a flow do at one state.

    Attributes:
        rates: `-max eig(S_aa, M_aa)` of each module, (L,), 1/time.
        gains: `|Theta_a J_ab Theta_b^-1|_2`, (L, L): what module `b` does to module `a`; zero on the diagonal.
        rate_in: the rate of the whole in the metric whose blocks are multiplied by weights (L,).
    """

    rates: Float[np.ndarray, " L"]
    gains: Float[np.ndarray, "L L"]
    rate_in: Callable[[Float[np.ndarray, " L"]], float]


class Place(NamedTuple):
    """A state whose modules are asked for, and how a message names it."""

    flow: AbstractFlow
    t: Array
    y: State
    args: Args
    metric: AbstractMetric | None  # `None` for the flow's own
    blocks: Blocks
    name: str

    def factor(self, metric: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
        """`Theta`, block diagonal, with `Theta^T Theta = M`.

        Raises:
            ValueError: that names the first module whose block is no metric, or two that are coupled.
        """
        places, theta = self.blocks.places(self.y), np.zeros_like(metric)
        for name, place in zip(self.blocks.names, places, strict=True):
            block = metric[np.ix_(place, place)]
            fault = _fault(block, tolerance(dtype_of(self.y)))
            if fault is not None:
                raise ValueError(
                    f"`metric` is no metric {self.name} in module '{name}', where it {fault}: add a mass, or ask for "
                    "states before it degenerates."
                )
            theta[np.ix_(place, place)] = np.linalg.cholesky(block).T
        self._require_blocks(metric, theta)
        return theta

    def _require_blocks(self, metric, theta):
        # As lengths: beside the numbers of a large block the coupling of two small ones looks like nothing.
        lengths = np.abs(_conjugated(theta, metric))
        places, names = self.blocks.places(self.y), self.blocks.names
        for a, here in enumerate(places):
            for b, there in enumerate(places):
                if a != b and not lengths[np.ix_(here, there)].max() <= tolerance(dtype_of(self.y)):
                    raise ValueError(
                        f"`metric` must be block diagonal over the modules, but couples '{names[a]}' and '{names[b]}' "
                        f"{self.name}: a gain between modules is one of separate lengths. Pass `metric=`, such as "
                        "`fm.LayerwiseMetric` in the place of `fm.FullMetric`."
                    )

    def require_metric(self) -> None:
        """The errors of `factor`, where no matrix is at hand."""
        self.factor(np.asarray(_matrix(self.flow, self.t, self.y, self.args, self.metric), dtype=np.float64))

    def fault_of(self, what: str) -> ValueError:
        """What to raise where a number is none although the metric is one."""
        return ValueError(
            f"{what} is not finite {self.name}: the vector field or its derivative, or that of the metric, is not. "
            "Look at the states of the run there, or end it earlier."
        )


def _fault(block: Float[np.ndarray, "k k"], allowed: float) -> str | None:
    """Why a block is no metric."""
    if not np.isfinite(block).all():
        return "is not finite"
    if asymmetry(block) > allowed:
        return "is not symmetric"
    try:
        np.linalg.cholesky(block)
    except np.linalg.LinAlgError:
        return f"has the eigenvalue {np.linalg.eigvalsh(block)[0]:.3g}"
    return None


def _conjugated(theta: Float[np.ndarray, "n n"], matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """`Theta^-T A Theta^-1`."""
    return np.linalg.solve(theta.T, np.linalg.solve(theta.T, matrix).T).T


@eqx.filter_jit
def _matrix(flow, t, y, args, metric):
    return default_metric(flow, y, metric).at(t)(y, args).as_matrix()


def block_rates(place: Place) -> BlockRates:
    """Rates and gains by the eigenvalues and singular values of the blocks of `F`.

    Raises:
        ValueError: if the metric is none in a module or couples two, or something is not finite: with the module.
    """
    matrices = _linearised(place.flow, place.t, place.y, place.args, place.metric)
    jacobian, metric, motion = (np.asarray(matrix, dtype=np.float64) for matrix in matrices)
    places, names = place.blocks.places(place.y), place.blocks.names
    theta = place.factor(metric)
    for name, here in zip(names, places, strict=True):
        if not (np.isfinite(jacobian[here]).all() and np.isfinite(motion[here]).all()):
            raise place.fault_of(f"The rate of module '{name}'")
    whole = _conjugated(theta, motion / 2 + metric @ jacobian)
    if not np.isfinite(whole).all():
        raise place.fault_of("The rate of the whole")

    def block(a, b):
        return whole[np.ix_(places[a], places[b])]

    def rate_in(weights):
        scale = np.ones(len(whole))
        for weight, here in zip(weights, places, strict=True):
            scale[here] = np.sqrt(weight)
        return _slowest(scale[:, None] * whole / scale[None])

    count = range(len(places))
    gains = [[0.0 if a == b else np.linalg.norm(block(a, b), 2) for b in count] for a in count]
    return BlockRates(np.array([_slowest(block(a, a)) for a in count]), np.array(gains), rate_in)


@eqx.filter_jit
def _linearised(flow, t, y, args, metric):
    lin = linearise(flow, t, y, args, default_metric(flow, y, metric))
    return lin.jacobian, lin.metric, lin.metric_rate


def _slowest(jacobian: Float[np.ndarray, "n n"]) -> float:
    """Minus the largest eigenvalue of the symmetric part; NaN if something is not finite."""
    if not np.isfinite(jacobian).all():
        return float("nan")
    return -float(np.linalg.eigvalsh((jacobian + jacobian.T) / 2)[-1])
