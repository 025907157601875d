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

from .._tree import dtype_of
from .._typing import Args, State
from ..flow import AbstractFlow
from ..linalg import Blocks
from ..metric import AbstractMetric, asymmetry, tolerance
from .jacobian import default_metric, linearise


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

    def require_metric(self) -> None:
        """Raise a `ValueError` that names the first module whose block is no metric, or is coupled to another."""
        matrix = np.asarray(_matrix(self.flow, self.t, self.y, self.args, self.metric), dtype=np.float64)
        places, allowed = self.blocks.places(self.y), tolerance(dtype_of(self.y))
        for name, place in zip(self.blocks.names, places, strict=True):
            block = matrix[np.ix_(place, place)]
            if not np.isfinite(block).all():
                fault = "is not finite"
            elif asymmetry(block) > allowed:
                fault = "is not symmetric"
            elif np.linalg.eigvalsh(block)[0] <= 0:
                fault = f"has the eigenvalue {np.linalg.eigvalsh(block)[0]:.3g}"
            else:
                continue
            raise ValueError(
                f"`metric` is no metric {self.name} in module '{name}', where it {fault}: add a mass, or ask for "
                "states before it degenerates."
            )
        self._require_blocks(matrix, places, allowed)

    def _require_blocks(self, matrix, places, allowed):
        for a, here in enumerate(places):
            for b, there in enumerate(places):
                if a != b and not np.abs(matrix[np.ix_(here, there)]).max() <= allowed * np.abs(matrix).max():
                    raise ValueError(
                        f"`metric` must be block diagonal over the modules, but couples '{self.blocks.names[a]}' and "
                        f"'{self.blocks.names[b]}' {self.name}: a gain between modules is one of separate lengths. "
                        "Pass `metric=`, such as `fm.LayerwiseMetric` in the place of `fm.FullMetric`."
                    )

    def fault_of(self, what: str) -> ValueError:
        """What to raise where a number is none although the metric is one."""
        return ValueError(
            f"{what} is not finite {self.name}: the vector field or its derivative, or that of the metric, is not. "
            "Look at the states of the run there, or end it earlier."
        )


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
    theta = np.zeros_like(metric)
    try:
        for here in places:
            theta[np.ix_(here, here)] = np.linalg.cholesky(metric[np.ix_(here, here)]).T
    except np.linalg.LinAlgError:
        theta[:] = np.nan
    # The product has the blocks that the factor lacks: where the metric couples modules they differ.
    if not np.abs(theta.T @ theta - metric).max() <= tolerance(dtype_of(place.y)) * np.abs(metric).max():
        place.require_metric()
        raise place.fault_of("The factor of the metric")
    for name, here in zip(names, places, strict=True):
        if not (np.isfinite(jacobian[here]).all() and np.isfinite(motion[here]).all()):
            raise place.fault_of(f"The rate of module '{name}'")
    left = np.linalg.solve(theta.T, motion / 2 + metric @ jacobian)
    whole = np.linalg.solve(theta.T, left.T).T

    def block(a, b):
        return whole[np.ix_(places[a], places[b])]

    def rate_in(weights):
        scale = np.ones(len(whole))
        for weight, here in zip(weights, places, strict=True):
            scale[here] = np.sqrt(weight)
        return slowest(scale[:, None] * whole / scale[None])

    count = range(len(places))
    gains = [[0.0 if a == b else np.linalg.norm(block(a, b), 2) for b in count] for a in count]
    return BlockRates(np.array([slowest(block(a, a)) for a in count]), np.array(gains), rate_in)


@eqx.filter_jit
def _linearised(flow, t, y, args, metric):
    lin = linearise(flow, t, y, args, default_metric(flow, y, metric))
    return lin.jacobian, lin.metric, lin.metric_rate


def slowest(jacobian: Float[np.ndarray, "n n"]) -> float:
    """Minus the largest eigenvalue of the symmetric part."""
    return -float(np.linalg.eigvalsh((jacobian + jacobian.T) / 2)[-1])
