"""Where a function on a grid vanishes, as a line."""

import numpy as np
from matplotlib.axes import Axes


def zero_lines(ax: Axes, numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The zero contour of values (n, n) on a grid (n, n, 2), as one line (points, 2) with NaN between its pieces.

    A plain line has a legend entry and data to look at, which a contour set has not.
    """
    gap = np.full((1, 2), np.nan)
    finite = values[np.isfinite(values)]
    if not finite.size or finite.min() > 0 or finite.max() < 0:
        return gap
    contours = ax.contour(numbers[0, :, 0], numbers[:, 0, 1], np.ma.masked_invalid(values), [0.0])
    pieces = [piece for piece in contours.allsegs[0] if len(piece)]
    contours.remove()
    return np.concatenate([row for piece in pieces for row in (piece, gap)] or [gap])
