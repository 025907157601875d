"""What became of a run of an optimizer, from its last iterates: it rests, it repeats itself, or neither."""

import numpy as np

FATES = ("converged", "converging", "periodic", "irregular", "diverged")
"""From the best to the worst; an irregular run is chaotic or quasi-periodic, or on its way to a cycle."""

TAIL = 128
"""So many consecutive iterates at the end of a run tell its fate: periods up to a quarter of them."""

_ORDER = 4
"""Of the linear recursion near a point of rest: two complex pairs of factors."""

_DIVERGED = 10.0
"""Of the flow's drop: a loss so far above that of the start has diverged."""
_AT_REST = 1e-6
"""Of the flow's drop: what a run that has converged may still gain. It is a thousandth of its path."""
_REPEATED = 1e-3
"""Of the orbit's width: iterates so close to each other are one. What doubles a period must be larger than that."""
_LINEAR = 1e-3
"""Of the tail's moves: what a linear recursion may leave unexplained."""
_APART = 1e-6
"""A factor that differs from one by so much per step, and by more than is unexplained, damps or grows."""
_FALLING = 0.7
"""Moves that a linear recursion does not explain die out if those of the second half are smaller than so many of the
first; those of a chaotic orbit differ by some per cent."""
_SWING = 32
"""Moves that change their sign less than once in so many steps make slow swings, whose damping a tail can't tell."""


def fates(
    start: np.ndarray,
    end: np.ndarray,
    drop: np.ndarray,
    tail_loss: np.ndarray,
    tail_signal: np.ndarray,
    ceiling: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The fate of runs, and the periods of those that are periodic.

    A run is *diverged* if it is not finite, if it ends above a ceiling, or if it ends above its start and its moves
    still grow by the same factors in each step. It is *converged* if its last iterates are the same up to rounding, or
    if they approach a limit whose loss is within a millionth of the flow's drop. It is *converging* if they approach
    one that is further away: in one direction, in slow swings, or by factors below one. It is *periodic* if the last
    iterates repeat themselves within a thousandth of their range. All others are *irregular*.

    Args:
        start: the loss at the start, (...).
        end: the loss at the end, (...).
        drop: how far the flow lowers the loss, (...), the scale of the others.
        tail_loss: the losses of the last `TAIL` iterates, (..., `TAIL`). A run with fewer has NaN in front of them.
        tail_signal: a fixed generic linear function of the same iterates, (..., `TAIL`). The loss would not do: it is
            often the same on both sides of a valley. Rounding is told by its size, so that its terms should not cancel.
        ceiling: the loss above which a run has diverged, (...); by default ten drops above the start.

    Returns:
        Strings of `FATES`, (...), and whole numbers, (...): the smallest period, and 0 for a run that is not periodic.
    """
    shape = np.shape(end)
    start, end, drop = (np.broadcast_to(array, shape).ravel() for array in (start, end, drop))
    ceiling = None if ceiling is None else np.broadcast_to(ceiling, shape).ravel()
    loss, signal = (np.reshape(tail, (start.size, np.shape(tail)[-1])) for tail in (tail_loss, tail_signal))
    rounding = 1e3 * np.finfo(loss.dtype).eps * np.abs(start)
    drop = np.maximum(np.nan_to_num(np.abs(drop)), rounding)
    finite = np.isfinite(loss) & np.isfinite(signal)
    alive = np.isfinite(end) & finite[:, -1] & ~(end > (start + _DIVERGED * drop if ceiling is None else ceiling))
    # Runs of as many iterates go together, so that no array has gaps; those that diverged are done.
    made = np.where(alive, np.logical_and.accumulate(finite[:, ::-1], axis=1).sum(axis=1), 0)
    found = np.full(start.size, FATES[-1], dtype=f"<U{max(map(len, FATES))}")
    period = np.zeros(start.size, int)
    for count in np.unique(made[alive]):
        rows = np.flatnonzero(made == count)
        tails = loss[rows, -count:], signal[rows, -count:]
        found[rows], period[rows] = _fates_of_finite(start[rows], end[rows], drop[rows], *tails)
    return found.reshape(shape), period.reshape(shape)


def _fates_of_finite(start, end, drop, loss, signal) -> tuple[np.ndarray, np.ndarray]:
    latest = signal[:, (signal.shape[1] - 1) // 2 :]
    # The signal is a sum: its terms, and so its rounding, may be larger than itself.
    rounding = 1e2 * np.finfo(signal.dtype).eps * np.max(np.abs(signal), axis=1)
    still = np.ptp(latest, axis=1) <= rounding
    settles, grows = _swings_slowly(signal) & (end <= start), np.zeros(len(signal), bool)
    unclear = ~(still | settles)
    settles[unclear], grows[unclear] = _damped_or_growing(signal[unclear])
    period = np.where(still | settles | grows, 0, _period(latest, signal.shape[1] // 4))
    settles |= (period == 0) & _dies_out(signal)
    flat = np.ptp(loss, axis=1) <= 16 * np.finfo(loss.dtype).eps * np.max(np.abs(loss), axis=1)
    rests = still | (settles & (flat | (_still_to_gain(loss) <= _AT_REST * drop)))
    conditions = [grows & (end > start), rests, settles, period > 0]
    return np.select(conditions, [FATES[-1], *FATES[:3]], FATES[3]), np.where(rests | settles, 0, period)


def _damped_or_growing(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether the moves obey a linear recursion whose factors are all smaller than one, or of which one is larger.

    They do near a point, whose slowest factors are numbers or complex pairs. On the way to a cycle of two one factor is
    -1, which is not mistaken for a slow damping.
    """
    moves = np.diff(signal, axis=1).astype(np.float64)
    order = min(_ORDER, moves.shape[1] // 3)
    if not order:
        return np.zeros(len(signal), bool), np.zeros(len(signal), bool)
    moves /= np.maximum(np.max(np.abs(moves), axis=1, keepdims=True), np.finfo(np.float64).tiny)
    windows = np.lib.stride_tricks.sliding_window_view(moves, order + 1, axis=1)
    past, future = windows[..., -2::-1], windows[..., -1:]
    # Fewer factors than that leave weights free: the pseudo-inverse chooses small ones, whose own factors are damped.
    orthogonal, triangular = np.linalg.qr(past)
    weights = np.linalg.pinv(triangular, rcond=1e-11) @ (orthogonal.swapaxes(1, 2) @ future)
    left = np.sum((future - past @ weights) ** 2, axis=(1, 2))
    unexplained = np.sqrt(left / np.maximum(np.sum(future**2, axis=(1, 2)), np.finfo(np.float64).tiny))
    companion = np.zeros((len(moves), order, order)) + np.eye(order, k=-1)
    companion[:, 0] = weights[..., 0]
    factor = np.max(np.abs(np.linalg.eigvals(companion)), axis=1)
    linear, apart = unexplained <= _LINEAR, np.maximum(_APART, unexplained)
    return linear & (factor < 1 - apart), linear & (factor > 1 + apart)


def _swings_slowly(signal: np.ndarray) -> np.ndarray:
    signs = np.sign(np.diff(signal, axis=1))
    return np.sum(signs[:, 1:] * signs[:, :-1] < 0, axis=1) <= signal.shape[1] // _SWING


def _period(latest: np.ndarray, most: int) -> np.ndarray:
    """The smallest lag up to `most` after which all of the latest iterates repeat themselves, 0 if there is none."""
    near = _REPEATED * np.ptp(latest, axis=1)
    period = np.zeros(len(latest), int)
    for lag in range(most, 0, -1):
        apart = np.max(np.abs(latest[:, lag:] - latest[:, :-lag]), axis=1)
        period[apart <= near] = lag
    return period


def _dies_out(signal: np.ndarray) -> np.ndarray:
    moves = np.diff(signal, axis=1) ** 2
    half = moves.shape[1] // 2
    if not half:
        return np.zeros(len(signal), bool)
    return np.mean(moves[:, half:], axis=1) < _FALLING**2 * np.mean(moves[:, :half], axis=1)


def _still_to_gain(loss: np.ndarray) -> np.ndarray:
    """How far the loss is from where it goes, if what the halves of the tail gain falls in equal ratios."""
    half = loss.shape[1] // 2
    if half < 2:
        return np.full(len(loss), np.inf)
    earlier, later = np.ptp(loss[:, : half + 1], axis=1), np.ptp(loss[:, half:], axis=1)
    to_come = np.divide(later**2, earlier - later, out=np.full(len(loss), np.inf), where=later < earlier)
    return np.where(earlier == 0, later, np.maximum(to_come, later))
