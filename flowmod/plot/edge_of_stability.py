"""A run at the edge of stability: losses, curvature against its threshold, and distances from both flows."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from ._axes import with_unit
from ._palette import INK, LINES, MUTED

_SIZE = (3.4, 6.0)
"""Inches: one column of a journal, three panels."""

_NEEDED = {"loss", "loss_flow", "loss_central", "mean_loss", "mean_predicted_loss", "sharpness", "curvature"}
_OPTIMIZER, _FLOW, _CENTRAL, _MEAN = MUTED, LINES[1], LINES[0], INK


def edge_of_stability(dataset: Any, *, axes: Any = None) -> np.ndarray:
    """Draw what an optimizer did at its edge of stability, and what was predicted, over its steps.

    Above the losses: the optimizer's in grey and its mean over the window in black, on which the dashed mean that was
    predicted should lie; beside them those of the gradient flow and of the central flow, which is that of the middle of
    the oscillation and hence lower. In the middle the largest eigenvalue of `M^-1 H` along the optimizer, in grey, and
    the leading ones along the central flow, held below the dotted line of what the optimizer bears. Below the
    optimizer's distances from both flows.

    Args:
        dataset: what `fm.edge_of_stability` returned.
        axes: three axes to draw into, from above; those of a new figure by default.

    Returns:
        The three axes, (3,).

    Raises:
        ValueError: if `dataset` is something else, or `axes` are not three.
    """
    if not _NEEDED <= set(getattr(dataset, "data_vars", ())):
        raise ValueError(f"`dataset` must be what `fm.edge_of_stability` returns, got {type(dataset).__name__}.")
    if axes is None:
        axes = plt.subplots(3, figsize=_SIZE, layout="constrained", sharex=True)[1]
    axes = np.ravel(np.asarray(axes, dtype=object))
    if len(axes) != 3 or not all(isinstance(ax, Axes) for ax in axes):
        raise ValueError(f"`axes` must be three matplotlib `Axes`, got {len(axes)}: `plt.subplots(3)[1]`.")
    steps = np.asarray(dataset["step"])
    _draw_losses(axes[0], steps, dataset)
    _draw_curvatures(axes[1], steps, dataset)
    _draw_distances(axes[2], steps, dataset)
    axes[2].set_xlabel("step")
    for ax in axes:
        ax.set_xlim(steps[0], steps[-1])
    return axes


def _draw_losses(ax: Axes, steps: np.ndarray, dataset: Any) -> None:
    ax.set_yscale("log")
    ax.plot(steps, dataset["loss"], color=_OPTIMIZER, linewidth=0.5, alpha=0.6, label="optimizer")
    ax.plot(steps, dataset["mean_loss"], color=_MEAN, linewidth=1.4, label="its mean")
    predicted = dataset["mean_predicted_loss"]
    ax.plot(steps, predicted, color=LINES[4], linewidth=1.4, linestyle=(0, (3, 2)), label="predicted mean")
    ax.plot(steps, dataset["loss_central"], color=_CENTRAL, linewidth=1.4, label="central flow")
    ax.plot(steps, dataset["loss_flow"], color=_FLOW, linewidth=1.4, label="gradient flow")
    # Oscillations of the first steps, and of a run that diverged, would leave no room for the rest.
    shown = np.concatenate([np.asarray(dataset[name]) for name in ("mean_loss", "loss_central", "loss_flow")])
    shown = shown[np.isfinite(shown) & (shown > 0)]
    if shown.size:
        ax.set_ylim(shown.min() / 1.3, shown.max() * 1.3)
    # A loss at the edge spans a decade or two, in which powers of ten alone would be too few ticks.
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylabel(with_unit("loss", dataset["loss"].attrs.get("units")))
    ax.legend(frameon=False, fontsize="x-small", labelspacing=0.2, loc="upper right")


def _draw_curvatures(ax: Axes, steps: np.ndarray, dataset: Any) -> None:
    threshold = float(dataset.attrs["threshold"])
    ax.plot(steps, dataset["sharpness"], color=_OPTIMIZER, linewidth=0.5, alpha=0.6, label="optimizer")
    for index, curvature in enumerate(np.asarray(dataset["curvature"]).T):
        label = "central flow" if index == 0 else f"_central flow {index}"
        ax.plot(steps, curvature, color=_CENTRAL, linewidth=1.2, alpha=1.0 if index == 0 else 0.45, label=label)
    ax.axhline(threshold, color=INK, linewidth=1.2, linestyle=":", label="threshold")
    known = np.asarray(dataset["curvature"])
    if np.isfinite(known).any():
        ax.set_ylim(min(0.0, float(np.nanmin(known))), 1.35 * max(threshold, float(np.nanmax(known))))
    ax.set_ylabel(with_unit("curvature", dataset["sharpness"].attrs.get("units")))
    ax.legend(frameon=False, fontsize="x-small", labelspacing=0.2, loc="lower right")


def _draw_distances(ax: Axes, steps: np.ndarray, dataset: Any) -> None:
    for name, colour, text in (("flow", _FLOW, "gradient flow"), ("central", _CENTRAL, "central flow")):
        ax.plot(steps, dataset[f"distance_{name}"], color=colour, linewidth=1.2, label=f"from the {text}")
    ax.set_ylabel("distance of the optimizer")
    ax.legend(frameon=False, fontsize="x-small", labelspacing=0.2, loc="upper left")
