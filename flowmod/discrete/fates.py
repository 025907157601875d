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
_BLOCKS = 8
"""Of the tail, along which a line is laid: through their mean losses, and the logarithms of their moves' sizes."""
_FALLS, _MAY_FALL = -6.0, -4.0
"""Slopes of such a line, in its standard errors: of a hundred chaotic or noisy tails, about one falls as steeply as the
first by chance; the second is enough where neighbours approach each other. Many modes at once, whose swings make the
moves uneven and obey no short recursion, are told by it."""
_RESOLVED = 16
"""Roundings of a loss: what changes by less than so many is flat, and at rest if that is what it may still gain."""
_ENDLESS = 1e6
"""Of the loss at the start: what falls so far below it in growing moves has no limit."""
_SWING = 32
"""Moves that change their sign less than once in so many steps make slow swings, whose damping a tail can't tell."""

_TINY = np.finfo(np.float64).tiny


def fates(
    start: np.ndarray,
    end: np.ndarray,
    drop: np.ndarray,
    tail_loss: np.ndarray,
    tail_signal: np.ndarray,
    ceiling: np.ndarray | None = None,
    growth: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The fate of runs, and the periods of those that are periodic.

    A run is *diverged* if it is not finite or its numbers are beyond the root of the largest, if it ends above a
    ceiling, or if its moves still grow by the same factors in each step and it ends above its start or endlessly far
    below. It is *converged* if its last iterates are the same up to rounding and go nowhere, or if they approach a
    limit whose loss is within a millionth of the flow's drop, or as near as rounding tells. It is *converging* if they
    approach one that is further away: in one direction, in slow swings, by factors below one, or in moves that die
    out. It is *periodic* if the last iterates repeat themselves within a thousandth of their range. All others are
    *irregular*.

    Args:
        start: the loss at the start, (...).
        end: the loss at the end, (...).
        drop: how far the flow lowers the loss, (...), the scale of the others.
        tail_loss: the losses of the last `TAIL` iterates, (..., `TAIL`). A run with fewer has NaN in front of them.
        tail_signal: a fixed generic linear function of the same iterates, (..., `TAIL`). The loss would not do: it is
            often the same on both sides of a valley. Rounding is told by its size, so that its terms should not cancel.
        ceiling: the loss above which a run has diverged, (...); by default ten drops above the start.
        growth: the factor per step by which neighbours part, (...), where it is known. Alone it does not tell that a
            run settles: neighbours approach each other on long cycles, and under the same random gradients, too.

    Returns:
        Strings of `FATES`, (...), and whole numbers, (...): the smallest period, and 0 for a run that is not periodic.
    """
    shape, precision = np.shape(end), np.finfo(np.asarray(tail_loss).dtype)
    given = (start, end, drop, np.nan if growth is None else growth)
    start, end, drop, growth = (np.broadcast_to(x, shape).ravel().astype(float) for x in given)
    loss, signal = (np.reshape(x, (start.size, np.shape(x)[-1])).astype(float) for x in (tail_loss, tail_signal))
    drop = np.maximum(np.nan_to_num(np.abs(drop)), 1e3 * precision.eps * np.abs(start))
    ceiling = start + _DIVERGED * drop if ceiling is None else np.broadcast_to(ceiling, shape).ravel()
    finite = np.all(np.abs([loss, signal]) < np.sqrt(precision.max), axis=0)
    alive = np.isfinite(end) & finite[:, -1] & ~(end > ceiling)
    # Runs of as many iterates go together, so that no array has gaps; those that diverged are done.
    made = np.where(alive, np.logical_and.accumulate(finite[:, ::-1], axis=1).sum(axis=1), 0)
    found = np.full(start.size, FATES[-1], dtype=f"<U{max(map(len, FATES))}")
    period = np.zeros(start.size, int)
    for count in np.unique(made[alive]):
        rows = np.flatnonzero(made == count)
        numbers = start[rows], end[rows], drop[rows], growth[rows]
        found[rows], period[rows] = _fates_of_finite(*numbers, loss[rows, -count:], signal[rows, -count:], precision)
    return found.reshape(shape), period.reshape(shape)


def _fates_of_finite(start, end, drop, growth, loss, signal, precision) -> tuple[np.ndarray, np.ndarray]:
    latest = signal[:, (signal.shape[1] - 1) // 2 :]
    still = _goes_nowhere(latest, np.max(np.abs(signal), axis=1), precision)
    damped, grows = np.zeros((2, len(signal)), bool)
    damped[~still], grows[~still] = _damped_or_growing(signal[~still])
    settles = damped | (_swings_slowly(signal) & (end <= start))
    period = np.where(still | settles | grows, 0, _period(latest, signal.shape[1] // 4))
    steep = np.where(growth < 1, _MAY_FALL, np.where(growth > 1, -np.inf, _FALLS))
    falls = (period == 0) & (_fall(loss, signal) < steep)
    within = _AT_REST * drop
    rests = still | (settles & (_still_to_gain(loss, signal, precision) <= within))
    # Where the moves tell no limit, a loss that has been at its end all along has found it.
    rests |= (period == 0) & ~settles & (falls | (growth < 1)) & (np.ptp(loss, axis=1) <= within)
    settles |= falls
    endless = grows & ((end > start) | (end < start - _ENDLESS * np.abs(start)))
    conditions = [endless, rests, settles, period > 0]
    return np.select(conditions, [FATES[-1], *FATES[:3]], FATES[3]), np.where(endless | rests | settles, 0, period)


def _goes_nowhere(latest: np.ndarray, size: np.ndarray, precision: np.finfo) -> np.ndarray:
    """Whether iterates are the same up to rounding and don't creep: tiny steps in one direction lead far."""
    # The signal is a sum: its terms, and so its rounding, may be larger than itself.
    same = np.ptp(latest, axis=1) <= 1e2 * (precision.eps * size + precision.tiny / precision.eps)
    path = np.sum(np.abs(np.diff(latest, axis=1)), axis=1)
    return same & (np.abs(latest[:, -1] - latest[:, 0]) <= path / 2)


def _damped_or_growing(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether the moves obey a linear recursion whose factors are all smaller than one, or of which one is larger.

    They do near a point, whose slowest factors are numbers or complex pairs. On the way to a cycle of two one factor is
    -1, which is not mistaken for a slow damping.
    """
    moves = np.diff(signal, axis=1).astype(np.float64)
    order = min(_ORDER, moves.shape[1] // 3)
    if not order:
        return np.zeros(len(signal), bool), np.zeros(len(signal), bool)
    moves /= np.maximum(np.max(np.abs(moves), axis=1, keepdims=True), _TINY)
    windows = np.lib.stride_tricks.sliding_window_view(moves, order + 1, axis=1)
    past, future = windows[..., -2::-1], windows[..., -1:]
    # Fewer factors than that leave weights free: the pseudo-inverse chooses small ones, whose own factors are damped.
    orthogonal, triangular = np.linalg.qr(past)
    weights = np.linalg.pinv(triangular, rcond=1e-11) @ (orthogonal.swapaxes(1, 2) @ future)
    left = np.sum((future - past @ weights) ** 2, axis=(1, 2))
    unexplained = np.sqrt(left / np.maximum(np.sum(future**2, axis=(1, 2)), _TINY))
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


def _fall(loss: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """How steeply the loss falls along the tail, or its moves and those of the signal, in standard errors."""
    width = (signal.shape[1] - 1) // _BLOCKS
    if width < 2:
        return np.zeros(len(signal))
    levels = np.mean(loss[:, -_BLOCKS * width :].reshape(len(loss), _BLOCKS, width), axis=2)
    sizes = [_sizes_by_block(np.diff(tail, axis=1)[:, -_BLOCKS * width :]) for tail in (loss, signal)]
    return np.minimum(_slope(levels), _slope(np.mean(sizes, axis=0)))


def _sizes_by_block(moves: np.ndarray) -> np.ndarray:
    """The logarithms of root mean squares."""
    blocks = moves.reshape(len(moves), _BLOCKS, -1)
    largest = np.maximum(np.max(np.abs(blocks), axis=2, keepdims=True), _TINY)
    squares = np.mean((blocks / largest) ** 2, axis=2)
    return np.log(largest[..., 0]) + np.log(np.maximum(squares, _TINY)) / 2


def _slope(values: np.ndarray) -> np.ndarray:
    """Of the line through values at equal distances, in its standard errors."""
    time = np.arange(_BLOCKS) - (_BLOCKS - 1) / 2
    values = values - np.mean(values, axis=1, keepdims=True)
    slope = values @ time / (time @ time)
    error = np.sqrt(np.sum((values - slope[:, None] * time) ** 2, axis=1) / (_BLOCKS - 2) / (time @ time))
    return np.divide(slope, error, out=np.zeros(len(slope)), where=error > 0)


def _still_to_gain(loss: np.ndarray, signal: np.ndarray, precision: np.finfo) -> np.ndarray:
    """How far the loss is from where it goes, 0 where rounding tells no more.

    What the halves of the tail gain falls in equal ratios. A loss that is flat by rounding does not show them: the
    signal does, and what the loss gains goes with the square of the way that is left.
    """
    resolved = _RESOLVED * precision.eps * np.max(np.abs(loss), axis=1)
    flat = np.ptp(loss, axis=1) <= resolved
    way, left = np.ptp(signal, axis=1), _to_come(signal)
    ratio = np.divide(way, left, out=np.full(len(loss), np.inf), where=left > 0)
    of_flat = np.divide(resolved, ratio * (ratio + 2), out=np.full(len(loss), np.inf), where=ratio > 0)
    return np.where(flat, np.where(of_flat <= _RESOLVED * resolved, 0, of_flat), _to_come(loss))


def _to_come(values: np.ndarray) -> np.ndarray:
    """The range of what follows, if the ranges of the halves of the tail fall in equal ratios."""
    half = (values.shape[1] - 1) // 2
    if not half:
        return np.full(len(values), np.inf)
    # As many moves in both: equal ones go on for ever.
    earlier, later = (np.ptp(part, axis=1) for part in (values[:, -2 * half - 1 : -half], values[:, -half - 1 :]))
    ratio = np.divide(later, earlier - later, out=np.where(earlier > 0, np.inf, 1), where=later < earlier)
    return np.maximum(ratio, 1) * later
