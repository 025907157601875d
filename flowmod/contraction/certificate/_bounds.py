"""A rate that holds on a box: how far the growth of distances can be bounded from the intervals of its matrices.

In the norm 2 the matrices are the pencil `(S, M)` and the rate is at least `c` where `-(S + c M)` and `M` are positive
definite. Seen in the frame `Q` of the generalised eigenvectors at the box's midpoint both are nearly diagonal, and a
symmetric matrix `A` is positive definite if a positive vector `d` has `A_ii d_i - sum_j |A_ij| d_j > 0` in every row:
Gershgorin's discs, scaled by `d`. `Q` and `d` come from floats and need not be exact, because any will do: positive
diagonals of `Q^T M Q` that dominate prove `Q` invertible and `M` positive definite at once.

The matrices on the box are enclosed twice: as they are, and by the mean value theorem, with the slopes of `S + c M`
added before their modulus is taken, so that what cancels to first order (all of it, where `S = -M`) stays cancelled.

Rounding: sums of products in floats are wrong by at most `m u / (1 - m u)` times the sum of the moduli, with `m`
operations on the longest way and `u = 2^-53`, in any order of summation. Here every sum is widened by at least
twice that, and by the smallest normal number for underflow.
"""

from typing import NamedTuple

import numpy as np

from ._intervals import Interval, continuous, enclose, enclose_mean_value
from ._program import Program

_UNIT = 2.0**-52
_TINY = float(np.finfo(float).smallest_normal)
_DOUBLINGS, _HALVINGS = 60, 12
_SHORT = 0.005


class Bounds(NamedTuple):
    """What is proved on each of some boxes.

    Attributes:
        rates: (boxes,) a rate that holds on the whole box, -inf where none could be proved.
        frames: (boxes, n, n), the `Q` of each proof; zeros in the norms 1 and infinity.
        influence: (boxes, inputs), how much the width along each input costs.
        points: (boxes,) the rate at the midpoint in floats: no rate on the box is larger. NaN where there is none.
    """

    rates: np.ndarray
    frames: np.ndarray
    influence: np.ndarray
    points: np.ndarray


class _Matrix(NamedTuple):
    """Symmetric matrices `middle +- radius`, (..., n, n)."""

    middle: np.ndarray
    radius: np.ndarray


class _Form(NamedTuple):
    """`S` and `M` on boxes, in frames: at the centre, and their slopes by every input times the half width."""

    s: _Matrix
    m: _Matrix
    s_slopes: _Matrix
    m_slopes: _Matrix


# --- norm 2 ---


def pencils(values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """`S` and `M`, (..., n, n), from their upper triangles, (..., n (n + 1))."""
    place = np.zeros((n, n), dtype=int)
    rows, columns = np.triu_indices(n)
    place[rows, columns] = place[columns, rows] = np.arange(len(rows))
    return values[..., place], values[..., len(rows) + place]


def eigenframes(s: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Generalised eigenvalues, ascending, and `M`-orthonormal eigenvectors in floats; NaN where `M` is not positive."""
    n = s.shape[-1]
    finite = np.all(np.isfinite(s) & np.isfinite(m), axis=(-1, -2))
    whole = finite[..., None, None]
    s, m = np.where(whole, s, 0.0), np.where(whole, m, np.eye(n))
    sizes, axes = np.linalg.eigh(m)
    positive = finite & (sizes[..., 0] > 0)
    half = axes / np.sqrt(np.where(positive[..., None], sizes, 1.0))[..., None, :]
    reduced = np.swapaxes(half, -1, -2) @ s @ half
    values, vectors = np.linalg.eigh((reduced + np.swapaxes(reduced, -1, -2)) / 2)
    return np.where(positive[..., None], values, np.nan), np.where(positive[..., None, None], half @ vectors, np.nan)


def growth_at(program: Program, n: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`eigenframes` at points, NaN also where field or metric are not defined."""
    values = program.evaluate(points)
    defined = np.all(np.isfinite(values), axis=1)
    return eigenframes(*pencils(np.where(defined[:, None], values, np.nan), n))


def pencil_bounds(program: Program, derivative: Program, n: int, lower: np.ndarray, upper: np.ndarray) -> Bounds:
    """Rates in the norm 2 that hold on boxes, for a program of the pencil."""
    values, frames = growth_at(program, n, lower / 2 + upper / 2)
    points = -values[:, -1]
    with np.errstate(all="ignore"):
        pair = enclose(program, lower, upper)
        direct = _direct_form(pair, frames, n)
        sloped = _sloped_form(program, derivative, lower, upper, frames, n)
        weights = _weights(sloped, points - _SHORT * np.abs(points))
        rates = np.fmax(_largest_rate(direct, points, weights), _largest_rate(sloped, points, weights))
        parts = _moduli(sloped.s_slopes, sloped.m_slopes, points[:, None])
        influence = np.einsum("bkij,bi,bj->bk", parts, weights, weights)
    settled = _settled(pair, n, n * (n + 1))
    rates, influence = np.where(settled, rates, -np.inf), np.where(settled[:, None], influence, np.nan)
    return Bounds(rates, np.nan_to_num(frames), influence, points)


def _settled(pair: Interval, n: int, entries: int) -> np.ndarray:
    """Where field and metric, which come after the entries, are defined and no condition after them changes."""
    low, high = (bound[:, entries:] for bound in pair)
    bounded = np.isfinite(low) & np.isfinite(high)
    return np.all(bounded, axis=1) & np.all((low == high)[:, n + n * n :], axis=1)


def _direct_form(pair: Interval, frames: np.ndarray, n: int) -> _Form:
    (s_low, m_low), (s_high, m_high) = (pencils(bound, n) for bound in pair)
    s, m = _in_frames(s_low, s_high, frames), _in_frames(m_low, m_high, frames)
    none = np.zeros((len(frames), 0, n, n))
    return _Form(s, m, _Matrix(none, none), _Matrix(none, none))


def _sloped_form(program, derivative, lower, upper, frames, n) -> _Form:
    boxes, inputs = lower.shape
    middle = lower / 2 + upper / 2
    centre = _direct_form(enclose(program, middle, middle), frames, n)
    # A derivative does not see a jump.
    sound = continuous(program, lower, upper)[:, None, None]
    slopes = (np.where(sound, bound.reshape(boxes, -1, inputs), np.nan) for bound in enclose(derivative, lower, upper))
    reach = np.nextafter(np.maximum(upper - middle, middle - lower), np.inf)[:, :, None, None]
    pair = zip(*(pencils(np.swapaxes(bound, 1, 2), n) for bound in slopes), strict=True)
    s, m = (_in_frames(low, high, frames[:, None]) for low, high in pair)
    return _Form(
        centre.s, centre.m, _Matrix(s.middle * reach, s.radius * reach), _Matrix(m.middle * reach, m.radius * reach)
    )


def _in_frames(low: np.ndarray, high: np.ndarray, frames: np.ndarray) -> _Matrix:
    """`Q^T A Q` for all `A` between two matrices."""
    n = low.shape[-1]
    middle = low / 2 + high / 2
    radius = np.nextafter(np.maximum(high - middle, middle - low), np.inf)
    turned, size = np.swapaxes(frames, -1, -2), np.abs(frames)
    spread = np.swapaxes(size, -1, -2) @ (radius + (4 * n + 16) * _UNIT * np.abs(middle)) @ size
    least = n * n * _TINY * (1 + size.max(axis=(-1, -2), keepdims=True))
    return _Matrix(turned @ middle @ frames, spread * (1 + (4 * n + 16) * _UNIT) + least)


def _moduli(s: _Matrix, m: _Matrix, rates: np.ndarray) -> np.ndarray:
    """The largest modulus of each entry of `s + rates m`, up to rounding."""
    rates = rates[..., None, None]
    return np.abs(s.middle + rates * m.middle) + s.radius + np.abs(rates) * m.radius


def _rows(form: _Form, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`-(S + rates M)` as a comparison matrix, its diagonal less the modulus of the rest, and the sum of all moduli."""
    n = form.s.middle.shape[-1]
    column = rates[:, None, None]
    middle = form.s.middle + column * form.m.middle
    radius = form.s.radius + np.abs(column) * form.m.radius
    spread = _moduli(form.s_slopes, form.m_slopes, rates[:, None]).sum(axis=1)
    comparison = np.where(np.eye(n, dtype=bool), -middle, -np.abs(middle)) - radius - spread
    sizes = [np.abs(part.middle) + part.radius for part in form]
    total = sizes[0] + np.abs(column) * sizes[1] + sizes[2].sum(axis=1) + np.abs(column) * sizes[3].sum(axis=1)
    return comparison, total


def _holds(form: _Form, rates: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Whether `-(S + rates M)` is surely positive definite on each box."""
    comparison, total = _rows(form, rates)
    operations = 4 * (form.s.middle.shape[-1] + form.s_slopes.middle.shape[1] + 8)
    margin = comparison @ weights[..., None] - operations * _UNIT * (total @ weights[..., None])
    return (margin[..., 0] > 0).all(axis=1)


def _weights(form: _Form, rates: np.ndarray) -> np.ndarray:
    """The `d` with `C d = 1` for the comparison matrix `C`, which is positive if any is; shifted where none is."""
    comparison, _ = _rows(form, rates)
    finite = np.all(np.isfinite(comparison), axis=(1, 2), keepdims=True)
    comparison = np.where(finite, (comparison + np.swapaxes(comparison, 1, 2)) / 2, np.eye(comparison.shape[1]))
    values, vectors = np.linalg.eigh(comparison)
    shift = np.maximum(-1.1 * values[:, :1], 0) + 1e-6 * np.abs(values).max(axis=1, keepdims=True) + _TINY
    weights = np.einsum("bij,bj,bkj->bi", vectors, 1 / (values + shift), vectors)
    weights = weights / np.abs(weights).max(axis=1, keepdims=True)
    return np.where((weights > 0).all(axis=1, keepdims=True), weights, 1.0)


def _is_metric(form: _Form, weights: np.ndarray) -> np.ndarray:
    """Whether `M` is surely positive definite on each box."""
    nothing = (_Matrix(np.zeros_like(part.middle), np.zeros_like(part.radius)) for part in (form.s, form.s_slopes))
    s, slopes = nothing
    return _holds(_Form(s, form.m, slopes, form.m_slopes), -np.ones(len(weights)), weights)


def _largest_rate(form: _Form, points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The largest rate below that of the midpoint for which the discs suffice; -inf where `M` may lose definiteness."""
    even = np.ones_like(weights)
    mass = _is_metric(form, even) | _is_metric(form, weights)
    rates = _largest_with(form, points, weights)
    if np.isneginf(rates).any():
        rates = np.fmax(rates, _largest_with(form, points, even))
    return np.where(mass, rates, -np.inf)


def _largest_with(form: _Form, points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    step = 1e-3 * np.abs(points) + 1e-12 * np.abs(form.s.middle).max(axis=(1, 2)) + _TINY
    low = points - step
    for _ in range(_DOUBLINGS):
        failed = ~_holds(form, low, weights)
        if not failed.any():
            break
        step = np.where(failed, 2 * step, step)
        low = np.where(failed, points - step, low)
    high = points
    for _ in range(_HALVINGS):
        middle = low / 2 + high / 2
        held = _holds(form, middle, weights)
        low, high = np.where(held, middle, low), np.where(held, high, middle)
    return np.where(_holds(form, low, weights), low, -np.inf)


def pencils_grow(program: Program, n: int, points: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """On which boxes no rate is positive: `d^T S d >= 0` for the leading eigenvector `d` at points, `M` a metric."""
    _, frames = growth_at(program, n, points)
    with np.errstate(all="ignore"):
        form = _direct_form(enclose(program, lower, upper), frames, n)
        growth = form.s.middle[:, -1, -1] - form.s.radius[:, -1, -1]
        return (growth >= 0) & _is_metric(form, np.ones((len(points), n)))


# --- norms 1 and infinity ---


def log_norms(program: Program, n: int, points: np.ndarray, norm: float) -> np.ndarray:
    """The log norm 1 (columns) or infinity (rows) at points in floats, NaN where something is not defined."""
    values = program.evaluate(points)
    defined = np.all(np.isfinite(values), axis=1)
    matrices = np.where(defined[:, None], values, np.nan)[:, : n * n].reshape(-1, n, n)
    diagonal = np.einsum("...ii->...i", matrices)
    sums = np.abs(matrices).sum(axis=-2 if norm == 1 else -1)
    return (diagonal + sums - np.abs(diagonal)).max(axis=-1)


def log_norm_bounds(
    program: Program, derivative: Program, n: int, lower: np.ndarray, upper: np.ndarray, norm: float
) -> Bounds:
    """Rates in the norms 1 and infinity that hold on boxes, for a program of the generalised Jacobian."""
    boxes, inputs = lower.shape
    pair = enclose_mean_value(program, derivative, lower, upper)
    low, high = (x[:, : n * n].reshape(boxes, n, n) for x in pair)
    with np.errstate(all="ignore"):
        entries = np.where(np.eye(n, dtype=bool), high, np.maximum(-low, high))
        sums = entries.sum(axis=1 if norm == 1 else 2)
        slack = 2 * n * _UNIT * np.abs(entries).sum(axis=1 if norm == 1 else 2) + n * _TINY
        rates = -np.nextafter(sums + slack, np.inf).max(axis=1)
        least, most = (bound.reshape(boxes, -1, inputs) for bound in enclose(derivative, lower, upper))
        influence = (np.maximum(np.abs(least), np.abs(most)).sum(axis=1)) * (upper - lower)
        points = -log_norms(program, n, lower / 2 + upper / 2, norm)
    rates = np.where(_settled(pair, n, n * n) & ~np.isnan(rates), rates, -np.inf)
    return Bounds(rates, np.zeros((boxes, n, n)), influence, points)


def log_norms_grow(program: Program, n: int, lower: np.ndarray, upper: np.ndarray, norm: float) -> np.ndarray:
    """On which boxes no rate is positive: those with a row or column whose sum is nowhere negative."""
    low, high = (x[:, : n * n].reshape(-1, n, n) for x in enclose(program, lower, upper))
    with np.errstate(all="ignore"):
        smallest = np.maximum(np.maximum(low, -high), 0.0)
        entries = np.where(np.eye(n, dtype=bool), low, smallest)
        axis = 1 if norm == 1 else 2
        sums = entries.sum(axis=axis) - 2 * n * _UNIT * np.abs(entries).sum(axis=axis) - n * _TINY
        return (sums >= 0).any(axis=1)
