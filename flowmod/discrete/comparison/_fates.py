"""What became of a run, in one word or a few."""

import numpy as np

FATES = ("converged", "oscillating", "worse than its start", "diverged")
"""From the best to the worst."""

_DIVERGED = 10.0
_SEEN = 1e-3


def fates(loss: np.ndarray, rise: np.ndarray, flow_loss: np.ndarray) -> np.ndarray:
    """The fate of every run.

    Args:
        loss: the recorded losses, (S, 61), the first one that of the start.
        rise: the largest rise of the loss in the last third of the updates, (S,).
        flow_loss: the flow's losses at the same times, NaN where it could not be run any more.

    Returns:
        One of `FATES` for each run, (S,): the last in that tuple that applies.
    """
    start, end = loss[..., 0], loss[..., -1]
    # At a minimum there is nothing to gain: what rounding does to the loss is no fate.
    rounding = 1e3 * np.finfo(loss.dtype).eps * np.abs(start)
    last = np.isfinite(flow_loss).sum(axis=-1, keepdims=True) - 1
    flow_end = np.take_along_axis(flow_loss, last, axis=-1)[..., 0]
    drop = np.maximum(np.abs(flow_loss[..., 0] - flow_end), rounding)
    found = np.full(end.shape, FATES[0], dtype=f"<U{max(map(len, FATES))}")
    found[rise > _SEEN * drop] = FATES[1]
    found[end > start + rounding] = FATES[2]
    found[~np.isfinite(end) | (end > start + _DIVERGED * drop)] = FATES[3]
    return found
