"""The contraction rate over a plane of states: where neighbours approach each other, and where they part."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm

from .._typing import Args, State
from ..contraction import Certificate, contraction_rate
from ..flow import AbstractFlow, require_flow
from ..metric import AbstractMetric
from ..simulate import Ensemble, Trajectory
from ._axes import axes_or_new, rate_label
from ._certificates import certificates_of, draw_certificates
from ._palette import INK
from ._paths import draw_paths, groups_of, paths_of, whole_state
from ._plane import plane_of
from ._zeros import draw_zeros, write_on

_CELLS = 150
_ROUNDING = 1e-6
_NO_RATE = "#BFBFBF"


def rate_map(
    flow: AbstractFlow,
    box: tuple[State, State],
    ensemble: Trajectory | Ensemble | Sequence[Trajectory | Ensemble] = (),
    certificates: Certificate | Sequence[Certificate] = (),
    *,
    metric: AbstractMetric | None = None,
    limit: float | None = None,
    scale: str = "linear",
    t: Any = 0.0,
    args: Args = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw `fm.contraction_rate` at every state of a plane.

    Purple is contracting, orange is not, grey has no rate because the metric is none there; the line is where the
    rate is zero. It is a map of rates at states: what is purple is not proved to contract between the points. What is
    proved has a frame, a certificate of `fm.certify` in the same metric.

    Args:
        flow: the flow.
        box: the lower and the upper corner, two trees like the state.
        ensemble: runs of this flow, a `Trajectory`, an `Ensemble` or a sequence of them, as in `phase_portrait`.
        certificates: a `Certificate` or a sequence of them, each with a frame: green with the boxes of its proof where
            it is proved, dashed with a cross at a point that disproves it, dotted where it is undecided.
        metric: the metric of the rate; the flow's own by default, else Euclidean.
        limit: the rate, in 1/time, from which on colours no longer change: the same for two maps that are compared.
            By default the larger rates of the sign that has the smaller ones are all told apart.
        scale: `"linear"`, or `"log"` for positive states that range over orders of magnitude.
        t: the time at which flow and metric are drawn.
        args: handed to the flow and to the metric.
        ax: where to draw; a new figure by default.

    Returns:
        The axes. The colour bar is `ax.figure.axes[-1]`.

    Raises:
        ValueError: if the box does not fit the flow or has not two numbers, if runs or certificates are of another
            state, if `limit` is not positive, or if there is no finite rate at all.
    """
    require_flow(flow)
    if limit is not None and not limit > 0:
        raise ValueError(f"`limit` must be positive, the rate at which colours end, got {limit}.")
    plane = plane_of(box, scale, flow.units)
    paths = paths_of("ensemble", ensemble, plane, whole_state)
    proofs = certificates_of("certificates", certificates, plane)
    edges = plane.placed(np.repeat(np.linspace(0, 1, _CELLS + 1)[:, None], 2, axis=1))
    # Centres of cells, not corners: metrics often end on the edge of a box, as at zero concentration.
    centres = plane.grid((np.arange(_CELLS) + 0.5) / _CELLS)
    rates = plane.evaluate(_rate, centres, t, (flow, args, metric))
    finite = rates[np.isfinite(rates)]
    if not finite.size:
        raise ValueError("`metric` gives no finite rate anywhere in `box`: it must be positive definite there.")

    ax = axes_or_new(ax)
    limit = _limit(finite) if limit is None else limit
    colours = colormaps["PuOr"].with_extremes(bad=_NO_RATE)
    cells = ax.pcolormesh(
        *edges.T, np.ma.masked_invalid(rates), cmap=colours, norm=CenteredNorm(0.0, limit), rasterized=True
    )
    # A rate that is the same everywhere is so up to rounding, which is no reason for an arrow.
    above, below = finite.max() > limit * (1 + _ROUNDING), finite.min() < -limit * (1 + _ROUNDING)
    extend = {(True, True): "both", (True, False): "max", (False, True): "min"}.get((above, below), "neither")
    bar = ax.figure.colorbar(cells, ax=ax, label=rate_label(flow.units), extend=extend)
    bar.ax.axhline(0.0, color=INK, linewidth=1.0)
    plane.frame(ax)
    line = draw_zeros(ax, centres, rates, "rate = 0")
    write_on(ax, plane, line, "0", avoid=np.concatenate([np.empty((0, 2)), *paths]))
    draw_paths(ax, paths, groups_of(paths, plane, None))
    draw_certificates(ax, proofs)
    return ax


def _limit(rates: np.ndarray) -> float:
    """Rates may be -200 on one side and 1 on the other: the colours serve the smaller side, and half of the picture."""
    sizes, smaller_side = np.abs(rates), min(rates.max(), -rates.min())
    limit = max(smaller_side, np.median(sizes)) if smaller_side > 0 else np.quantile(sizes, 0.98)
    return float(limit) or 1.0


def _rate(t: Any, y: State, operands: tuple[AbstractFlow, Args, AbstractMetric | None]) -> Any:
    flow, args, metric = operands
    return contraction_rate(flow, y, t, args, metric)
