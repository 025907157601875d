"""A legend where nothing is drawn."""

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes


def legend_above(ax: Axes, handles: Sequence[Artist]) -> None:
    """A legend in rows of three above the axes."""
    ax.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.45, 1.0),
        ncols=3,
        frameon=False,
        fontsize="x-small",
        handlelength=1.4,
        handletextpad=0.4,
        columnspacing=1.0,
        labelspacing=0.3,
    )
