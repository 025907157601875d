"""Prove a contraction rate on a whole region, or say where and why that fails."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import combine, floats, is_float_array, is_traced, label_of, require_arguments, unraveler
from ..._typing import Args, State
from ...flow import AbstractFlow, corners_of, require_flow
from ...linalg import as_norm
from ...metric import AbstractMetric, Euclidean, require_metric, tolerance
from ..jacobian import Factor, unless_own
from ._bounds import growth_at
from ._derivative import jacobian_of
from ._growth import flat_program, growth_program
from ._inputs import used_inputs, vanishes, without_last_input
from ._question import Question
from ._search import Found, Growth, search
from .certificate import Certificate, Witness
from .invariance import Invariance, invariance_of

_LARGEST = 20
_PROBES = 256


def certify(
    flow: AbstractFlow,
    box: tuple[State, State],
    metric: AbstractMetric | None = None,
    norm: float = 2,
    t: tuple[float, float] | None = None,
    args: Args = None,
    factor: Factor = None,
    *,
    rtol: float = 1e-2,
    max_boxes: int = 20_000,
    invariant: bool = False,
) -> Certificate:
    """Prove that all neighbouring trajectories in a box approach each other at least at some rate.

    What `contraction_rate` measures at states, this proves for every state of a box (and every time of an interval):
    the matrices of the rate are evaluated in interval arithmetic with outward rounding on boxes that cover the region,
    and boxes on which too little is proved are halved, until what is proved is within `rtol` of the smallest rate seen
    at a point, a point with a rate that is not positive is found, or the boxes are used up.

    What exactly is proved: that the pencil `(S, M)` of the flow satisfies `S <= -rate M` with a positive definite `M`
    (in the norms 1 and infinity that the matrix measure of `F` is at most `-rate`) everywhere in the box, in real
    arithmetic, with the float64 numbers of flow, metric and `args` taken as exact. It relies on the translation of
    JAX's trace, and not on its derivative rules: field and metric are differentiated as they are written, so custom
    rules and `stop_gradient` change nothing, in contrast to `contraction_rate`. Only where the flow itself is a
    derivative (the covector of a `fm.GradientFlow`, the Jacobian in a `fm.PullbackMetric`) is it the one that JAX
    computes. A gradient flow in its own metric is taken by its equation `M y' = -grad f`, without the metric's solve.
    The floats used on the way are covered. A metric is meant as `(M + M^T)/2`. Where the field has kinks, all of
    Clarke's generalised Jacobians are covered. Disproved means that in a small box around a point distances in one
    direction (in the norms 1 and infinity: the sum of one column or row) surely do not shrink.

    The rate holds for trajectories while they stay in the box: ask for `invariant=True`, and distances in the metric
    shrink along paths in the box. Dimensions cost: up to 20 numbers, and beyond 4 to 6 only for small boxes or nearly
    linear flows. Larger systems are composed of modules: `fm.compose`.

    Args:
        flow: the flow.
        box: `(lower, upper)`, two trees like the state: the corners.
        metric: the metric; the flow's own by default, else Euclidean.
        norm: 1, 2 or `jnp.inf`, as in `contraction_rate`.
        t: `(t0, t1)`, needed where the flow or the metric depends on the time.
        args: handed to the flow and to the metric.
        factor: `Theta`, as in `contraction_rate`, for the metric `Theta^T Theta`.
        rtol: how near to the smallest rate seen at a point the proved one should be, relative.
        max_boxes: the most boxes of the proof (and of the faces, with `invariant=True`).
        invariant: also prove that the box is forward invariant.

    Returns:
        A `Certificate`: `"proved"` with the rate, `"disproved"` with a point, or `"undecided"` with the worst box.

    Raises:
        ValueError: if the box is empty, infinite or unlike the state, an argument is wrong, the field or the metric
            depends on a time that was not given, the metric is not symmetric, or a part of the flow has no interval
            arithmetic: then it names the operation and the line.

    Example:
        ```python
        box = ({"u": 0.0, "v": 0.0}, {"u": 1.5, "v": 1.5})
        certificate = fm.certify(fm.bio.toggle_switch(1.5, 1.5), box, fm.Euclidean())  # proved, rate 0.0255
        ```

    Reference: R. Moore, R. Kearfott, M. Cloud, "Introduction to Interval Analysis" (2009); W. Lohmiller and J.-J. E.
    Slotine, "On contraction analysis for non-linear systems" (1998).
    """
    question, lower, upper = _asked(flow, box, metric, norm, args, factor)
    _check_numbers(t, rtol, max_boxes)
    n = question.size
    programs = [growth_program(question), *([flat_program(question.velocity, n)] if invariant else [])]
    timed = any(n in used_inputs(program) for program in programs)
    if timed and t is None:
        raise ValueError("`t` must be given as `(t0, t1)`: the flow or the metric depends on the time.")
    if timed:
        lower, upper = (np.append(corner, end) for corner, end in zip((lower, upper), t, strict=True))  # pyright: ignore
    else:
        programs = [without_last_input(program) for program in programs]
    _require_symmetric(question, lower, upper)
    growth = Growth(programs[0], jacobian_of(programs[0]), n, question.norm)
    found = search(growth, lower, upper, rtol, max_boxes)
    invariance = None
    if invariant:
        invariance = invariance_of(programs[1], jacobian_of(programs[1]), n, lower, upper, max_boxes)
    return _certificate(question, growth, found, (lower, upper), invariance)


def _asked(flow, box, metric, norm, args, factor) -> tuple[Question, np.ndarray, np.ndarray]:
    """The question with its arguments checked, and the corners of the box, flat."""
    require_flow(flow)
    if is_traced(flow, box, metric, args):
        raise ValueError("`certify` runs outside of JAX transformations only: a proof takes a number of boxes.")
    if metric is not None and factor is not None:
        raise ValueError("Give `metric` or `factor`, not both: a factor is a metric already, `M = factor^T factor`.")
    if metric is not None:
        require_metric("metric", metric)
    if callable(factor):
        require_arguments("factor", factor, ("t", "y", "args"))
    corners, _, lower, upper = corners_of(box)
    like = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64) if is_float_array(leaf) else leaf, corners)
    if len(lower) > _LARGEST:
        raise ValueError(
            f"`box` must be of at most {_LARGEST} numbers, got {len(lower)}: boxes can't cover so many dimensions. "
            "Certify the modules of the system one by one and compose the rates: `fm.compose`."
        )
    question = Question(flow, like, args, metric, factor, as_norm(norm))
    try:
        velocity = jax.eval_shape(lambda y: flow.vector_field(jnp.asarray(0.0), y, args), like)
    except (LookupError, TypeError) as error:
        raise ValueError(
            f"`box` must be two trees like the state of the flow, which can't be run on it: {error}"
        ) from error
    if [x.shape for x in jax.tree.leaves(velocity)] != [x.shape for x in jax.tree.leaves(floats(like))]:
        raise ValueError("`box` must be two trees like the state of the flow: its field has other shapes.")
    return question, lower, upper


def _check_numbers(t, rtol, max_boxes) -> None:
    if t is not None and not (isinstance(t, tuple | list) and len(t) == 2 and -math.inf < t[0] < t[1] < math.inf):
        raise ValueError(f"`t` must be a pair of finite times (t0, t1) with t0 < t1, got {t!r}.")
    if not 0 < rtol < 1:
        raise ValueError(f"`rtol` must be between 0 and 1, got {rtol!r}.")
    if isinstance(max_boxes, bool) or not isinstance(max_boxes, int) or max_boxes < 1:
        raise ValueError(f"`max_boxes` must be at least 1, a whole number, got {max_boxes!r}.")


def _require_symmetric(question: Question, lower: np.ndarray, upper: np.ndarray) -> None:
    """Refuse a metric that is not symmetric: in the program, or else at some points up to rounding."""
    if question.norm != 2 or question.factor is not None or isinstance(question.measure, Euclidean):
        return
    n = question.size

    def parts(x, t):
        m = question.given_matrix(x, t)
        return jnp.stack([m - m.T, m])

    program = flat_program(parts, n)
    if vanishes(program, range(n * n)):
        return
    shares = np.random.default_rng(0).uniform(size=(_PROBES, len(lower)))
    points = np.zeros((_PROBES, n + 1))
    points[:, : len(lower)] = lower + shares * (upper - lower)
    gaps, sizes = (np.abs(x).max(axis=1) for x in np.split(program.evaluate(points), 2, axis=1))
    if (gaps > tolerance(np.dtype(float)) * sizes).any():
        raise ValueError(
            f"`metric` must be symmetric, but |M - M^T| is {gaps.max():.3g} at {points[np.argmax(gaps), :n]}. A metric "
            "is an inner product: use (M + M^T)/2 if that is what you mean."
        )


_REASONS = {
    "reached": "what is proved is near the smallest rate seen at a point",
    "refuted": "a point was found around which the rate is surely not positive",
    "not positive": "a point was found at which the rate is not positive, which is not sure around it: it is within "
    "rounding of zero, or the point is at a kink or a jump",
    "undefined": "a point was found at which the field is not defined or the metric is not positive definite",
    "boxes": "`max_boxes` were used up",
    "width": "boxes can't be halved any more, as around a point where something jumps or is not defined",
}


def _certificate(question: Question, growth: Growth, found: Found, sides, invariance: Invariance | None) -> Certificate:
    n, rate = question.size, float(found.bounds.rates.min())
    timed = len(found.point) > n
    status = "proved" if rate > 0 else "disproved" if found.around is not None else "undecided"
    cells = np.stack([found.lower, found.upper], axis=1)
    corners = np.stack(sides)
    return Certificate(
        status=status,
        rate=rate,
        upper=found.best,
        norm=question.norm,
        metric=_metric_text(question),
        flow=type(question.flow).__name__,
        box=tuple(_tree(question, corner[:n]) for corner in corners),  # pyright: ignore[reportArgumentType]
        corners=corners[:, :n],
        times=tuple(corners[:, n].tolist()) if timed else None,
        witness=_witness(question, growth, found),
        reason=_REASONS[found.ended],
        boxes=cells[:, :, :n],
        spans=cells[:, :, n] if timed else np.zeros(cells.shape[:2]),
        bounds=found.bounds.rates,
        frames=found.bounds.frames,
        program=growth.program,
        invariance=invariance,
        leaves=tuple((label_of(path), np.shape(x)) for path, x in jax.tree.leaves_with_path(floats(question.like))),
    )


def _tree(question: Question, flat: np.ndarray) -> State:
    return combine(jax.tree.map(np.asarray, unraveler(question.like)(jnp.asarray(flat))), question.like)


def _witness(question: Question, growth: Growth, found: Found) -> Witness:
    n, point, direction = question.size, found.point, None
    if question.norm == 2:
        direction = growth_at(growth.program, n, point[None])[1][0, :, -1]
        direction = direction if np.isfinite(direction).all() else None
    time = float(point[n]) if len(point) > n else None
    return Witness(point[:n], _tree(question, point[:n]), time, found.best, direction, found.around)


def _metric_text(question: Question) -> str:
    if question.factor is not None:
        return "Theta^T Theta of the given factor"
    if isinstance(question.measure, Euclidean):
        return "the Euclidean metric"
    own = question.metric is None or unless_own(question.flow, question.metric) is None
    kind = type(question.measure).__name__
    return f"the flow's own metric ({kind})" if own else f"a {kind}"
