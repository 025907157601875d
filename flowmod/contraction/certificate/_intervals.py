"""Programs in interval arithmetic: bounds of a function over many boxes at once, rounding included.

Why the bounds hold. IEEE 754 rounds `+ - * /` and the square root to the nearest number, so the exact value lies
between the two neighbours of the computed one, and one `nextafter` outward contains it, over- and underflow included.
Functions of the mathematical library are not correctly rounded: NumPy lets them be wrong by 4 units in the last place.
Here they are trusted to 16 (`SLACK`, relative) plus the smallest normal number, for results that are flushed to zero;
sine and cosine, whose relative error near their zeros nobody promises, to the same slack absolutely. Then known ranges
are cut out again (`exp >= 0`, `|tanh| <= 1`). This part is trust and not proof: the tests compare with 60 digits, and
`verify` takes another library.

Inside, both bounds of a value that may be undefined are NaN, which every operation passes on: so `tanh(log x)` on a box
with x = 0 does not end in [-1, 1]. Outside, it is [-inf, inf]. A lower bound is never +inf, an upper never -inf.
"""

from collections.abc import Callable

import numpy as np

from ._continuity import jumps_of
from ._program import FUNCTIONS, POWERS, Program

SLACK = 2.0**-48
"""The relative error allowed to a function of the mathematical library: at least 16 units in the last place."""

_TINY = np.finfo(float).smallest_normal
_FAR = 2.0**20

Interval = tuple[np.ndarray, np.ndarray]


def enclose(program: Program, lower: np.ndarray, upper: np.ndarray) -> Interval:
    """Bounds of a program over boxes: the natural extension, operation by operation.

    Args:
        program: the program.
        lower: (boxes, inputs), finite float64.
        upper: (boxes, inputs), nowhere below `lower`.

    Returns:
        Two arrays (boxes, outputs): every value of an output in the box lies between them. Where an output may be
        undefined somewhere in the box, -inf and inf.

    Raises:
        ValueError: if the boxes have another shape, or are empty, infinite or NaN.
        RuntimeError: if this thread does not round to nearest or flushes small numbers to zero.
    """
    low, high = _run(program, *_boxes(program, lower, upper))[:2]
    return _unbounded_where_undefined(low, high)


def continuous(program: Program, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Where a program is surely continuous: on which boxes it is defined and decides what may jump, (boxes,) of bool.

    A derivative does not see the jump of a `select` between unequal values: a rate needs a field that is continuous.
    """
    low, _, decided = _run(program, *_boxes(program, lower, upper))
    return decided & ~np.isnan(low).any(axis=1)


def enclose_mean_value(program: Program, derivative: Program, lower: np.ndarray, upper: np.ndarray) -> Interval:
    """Bounds by the mean value form `f(m) + f'(box) (x - m)`, cut with the natural extension.

    The overestimation falls with the square of the width, that of the natural extension with the width: better on
    narrow boxes, no better on wide ones. Boxes on which the program may jump keep the natural extension.

    Args:
        program: the program, with P outputs.
        derivative: its derivative as `jacobian_of` makes it, with P x inputs outputs, row by row. The derivative by
            JAX will not do: a custom rule or a `stop_gradient` makes it another function, and the bounds wrong.
        lower: (boxes, inputs), finite float64.
        upper: (boxes, inputs), nowhere below `lower`.

    Returns:
        Two arrays (boxes, outputs).

    Raises:
        ValueError: if the boxes or the number of derivatives don't fit.
    """
    wanted = len(program.outputs) * program.inputs
    if derivative.inputs != program.inputs or len(derivative.outputs) != wanted:
        raise ValueError(
            f"`derivative` must map {program.inputs} inputs to {wanted} outputs, "
            f"got {derivative.inputs} and {len(derivative.outputs)}."
        )
    lower, upper = _boxes(program, lower, upper)
    low, high, decided = _run(program, lower, upper)
    middle = np.clip(lower / 2 + upper / 2, lower, upper)
    value = _run(program, middle, middle)[:2]
    slopes = [bound.reshape(len(lower), -1, program.inputs) for bound in _run(derivative, lower, upper)[:2]]
    with np.errstate(all="ignore"):
        offset = _sub((lower, upper), (middle, middle))
        for i in range(program.inputs):
            step = _mul((slopes[0][..., i], slopes[1][..., i]), (offset[0][:, i, None], offset[1][:, i, None]))
            value = _add(value, step)
    # `fmax` takes the other number where the slopes are undefined; where the program is, NaN must stay.
    cut = decided[:, None] & ~np.isnan(low)
    return _unbounded_where_undefined(
        np.where(cut, np.fmax(low, value[0]), low), np.where(cut, np.fmin(high, value[1]), high)
    )


def _boxes(program: Program, lower: np.ndarray, upper: np.ndarray) -> Interval:
    lower, upper = np.asarray(lower, dtype=float), np.asarray(upper, dtype=float)
    for name, bound in (("lower", lower), ("upper", upper)):
        if bound.ndim != 2 or bound.shape != (len(lower), program.inputs):
            raise ValueError(f"`{name}` must have shape (boxes, {program.inputs}), got {bound.shape}.")
        if not np.isfinite(bound).all():
            raise ValueError(f"`{name}` must be finite.")
    if (lower > upper).any():
        box, i = np.argwhere(lower > upper)[0]
        raise ValueError(f"box {box} is empty: `lower` is {lower[box, i]} and `upper` {upper[box, i]} at input {i}.")
    _require_ieee()
    return lower, upper


def _require_ieee() -> None:
    """The rounding of this thread, which any library in the process can change."""
    one, small = np.ones(2), np.full(2, 5e-324)
    nearest = (one + 2.0**-54 == 1) & (one - 2.0**-55 == 1) & (one + 0.75 * 2.0**-52 > 1)
    gradual = (small * 2.0**1000 > 0) & (np.full(2, _TINY) / 2 > 0)
    if not (nearest & gradual).all():
        raise RuntimeError(
            "This thread does not round to nearest or flushes small numbers to zero, so nothing can be proved in it: "
            "a library changed the floating-point mode of the process. Start a new process without it."
        )


def _run(program: Program, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounds of the outputs, NaN where undefined, and where everything that may jump was decided."""
    boxes, jumps = len(lower), jumps_of(program)
    values: dict[int, Interval] = dict(enumerate(zip(lower.T.copy(), upper.T.copy(), strict=True)))
    decided = np.ones(boxes, dtype=bool)
    for i in jumps & values.keys():
        decided &= _decided(values[i])
    # Values that nobody uses any more are dropped: all of them would be a hundred times the memory.
    last = {operand: node for node, operation in _nodes(program) for operand in operation.operands}
    kept = set(program.outputs)
    with np.errstate(all="ignore"):
        for node, (name, operands, parameter) in _nodes(program):
            taken = [values[operand] for operand in operands]
            if name == "constant":
                constant = np.full(boxes, parameter)
                values[node] = constant, constant
            elif name in POWERS:
                values[node] = _RULES[name](*taken, parameter)
            else:
                values[node] = _RULES[name](*taken)
            if node in jumps:
                decided &= _decided(values[node])
            for operand in set(operands):
                if last[operand] == node and operand not in kept:
                    del values[operand]
    empty = np.empty((boxes, 0))
    low, high = (
        np.concatenate([empty, *(values[node][side][:, None] for node in program.outputs)], axis=1) for side in (0, 1)
    )
    return low, high, decided


def _nodes(program: Program):
    return enumerate(program.operations, start=program.inputs)


def _unbounded_where_undefined(low: np.ndarray, high: np.ndarray) -> Interval:
    undefined = np.isnan(low) | np.isnan(high)
    return np.where(undefined, -np.inf, low), np.where(undefined, np.inf, high)


def _outward(low: np.ndarray, high: np.ndarray) -> Interval:
    """Bounds of the exact result of one correctly rounded operation."""
    return np.nextafter(low, -np.inf), np.nextafter(high, np.inf)


def _slack(low: np.ndarray, high: np.ndarray) -> Interval:
    """Bounds of the exact result of a function of the mathematical library."""
    low, high = _outward(low, high)  # first: an overflow becomes the largest number, which has a slack
    return low - (np.abs(low) * SLACK + _TINY), high + (np.abs(high) * SLACK + _TINY)


def _clip(x: Interval, least: float, most: float = np.inf) -> Interval:
    # The function lies between `least` and `most`, so both bounds may be moved there.
    return np.clip(x[0], least, most), np.clip(x[1], least, most)


def _where(allowed: np.ndarray, x: Interval) -> Interval:
    return np.where(allowed, x[0], np.nan), np.where(allowed, x[1], np.nan)


def _neg(x):
    return -x[1], -x[0]


def _abs(x):
    return np.maximum(np.maximum(x[0], -x[1]), 0.0), np.maximum(-x[0], x[1])


def _sum(low, high):
    # A sum that rounds to zero is zero. So 0 + 0 has a square root.
    below, above = _outward(low, high)
    return np.where(low == 0, 0.0, below), np.where(high == 0, 0.0, above)


def _add(x, y):
    return _sum(x[0] + y[0], x[1] + y[1])


def _sub(x, y):
    return _sum(x[0] - y[1], x[1] - y[0])


def _mul(x, y):
    products = [a * b for a in x for b in y]
    if not np.isfinite(products).all():
        # An infinite bound stands for finite numbers: zero times any of them is zero. NaN bounds stay NaN.
        products = [np.where(np.isinf(b) & (a == 0) | np.isinf(a) & (b == 0), 0.0, a * b) for a in x for b in y]
    a, b, c, d = products
    low, high = _outward(np.minimum(np.minimum(a, b), np.minimum(c, d)), np.maximum(np.maximum(a, b), np.maximum(c, d)))
    # A product of numbers that are nowhere negative isn't either, whatever the rounding: it has a square root.
    return np.where((low < 0) & (x[0] >= 0) & (y[0] >= 0), 0.0, low), high


def _reciprocal(x):
    low, high = _outward(1 / x[1], 1 / x[0])
    return _where((x[0] > 0) | (x[1] < 0), (np.where(x[0] > 0, np.maximum(low, 0.0), low), high))


def _div(x, y):
    # Through the reciprocal, because inf / inf has no rule.
    return _mul(x, _reciprocal(y))


def _sqrt(x):
    return _where(x[0] >= 0, _clip(_outward(np.sqrt(x[0]), np.sqrt(x[1])), 0.0))


def _power(x, n):
    """`x^n` for an integer n > 0."""
    if n % 2 == 0:
        x = _abs(x)
    if n == 2:
        return _clip(_outward(np.square(x[0]), np.square(x[1])), 0.0)
    low, high = _slack(np.power(x[0], float(n)), np.power(x[1], float(n)))
    return _clip((low, high), 0.0) if n % 2 == 0 else (low, high)


def _integer_pow(x, n):
    if n > 0:
        return _power(x, n)
    # The power of a small number may be zero, the reciprocal of which is not defined; then the power of the reciprocal.
    return _power(_reciprocal(x), -n)


def _pow(x, p):
    low, high = _slack(*(np.power(bound, p) for bound in (x if p > 0 else x[::-1])))
    return _where(x[0] >= 0 if p > 0 else x[0] > 0, _clip((low, high), 0.0))


def _monotone(function: Callable, least: float = -np.inf, most: float = np.inf, above: float | None = None) -> Callable:
    """An increasing function with values between `least` and `most`, defined everywhere or above `above`."""

    def rule(x):
        y = _clip(_slack(function(x[0]), function(x[1])), least, most)
        return y if above is None else _where(x[0] > above, y)

    return rule


def _cosh(x):
    x = _abs(x)
    return _clip(_slack(np.cosh(x[0]), np.cosh(x[1])), 1.0)


def _wave(function: Callable, shift: float) -> Callable:
    """A cosine whose maxima lie at `(shift + 2k) pi`."""

    def rule(x):
        ends = function(x[0]), function(x[1])
        low, high = np.minimum(*ends) - SLACK, np.maximum(*ends) + SLACK
        # In units of pi, with more room than the division and pi itself are wrong by.
        first, last = (bound / np.pi - shift for bound in x)
        far = (np.abs(first) > _FAR) | (np.abs(last) > _FAR)
        first, last = first - SLACK * (1 + np.abs(first)), last + SLACK * (1 + np.abs(last))
        high = np.where(far | (np.floor(last / 2) >= np.ceil(first / 2)), 1.0, high)
        low = np.where(far | (np.floor((last - 1) / 2) >= np.ceil((first - 1) / 2)), -1.0, low)
        return _where(~np.isnan(x[0]), _clip((low, high), -1.0, 1.0))

    return rule


def _min(x, y):
    return np.minimum(x[0], y[0]), np.minimum(x[1], y[1])


def _max(x, y):
    return np.maximum(x[0], y[0]), np.maximum(x[1], y[1])


def _verdict(yes: np.ndarray, no: np.ndarray, x: Interval, y: Interval) -> Interval:
    return _where(~(np.isnan(x[0]) | np.isnan(y[0])), (yes.astype(float), 1.0 - no))


def _lt(x, y):
    return _verdict(x[1] < y[0], x[0] >= y[1], x, y)


def _le(x, y):
    return _verdict(x[1] <= y[0], x[0] > y[1], x, y)


def _eq(x, y):
    same = (x[0] == x[1]) & (y[0] == y[1]) & (x[0] == y[0])
    return _verdict(same, (x[1] < y[0]) | (y[1] < x[0]), x, y)


def _decided(c: Interval) -> np.ndarray:
    return (c[0] > 0) | (c[1] < 0) | ((c[0] == 0) & (c[1] == 0))


def _select(c, a, b):
    yes, no = (c[0] > 0) | (c[1] < 0), (c[0] == 0) & (c[1] == 0)
    low = np.where(yes, b[0], np.where(no, a[0], np.minimum(a[0], b[0])))
    high = np.where(yes, b[1], np.where(no, a[1], np.maximum(a[1], b[1])))
    return _where(~np.isnan(c[0]), (low, high))


_RULES: dict[str, Callable] = {
    "neg": _neg,
    "abs": _abs,
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "min": _min,
    "max": _max,
    "lt": _lt,
    "le": _le,
    "eq": _eq,
    "select": _select,
    "sqrt": _sqrt,
    "integer_pow": _integer_pow,
    "pow": _pow,
    "exp": _monotone(np.exp, least=0.0),
    "expm1": _monotone(np.expm1, least=-1.0),
    "log": _monotone(np.log, above=0.0),
    "log1p": _monotone(np.log1p, above=-1.0),
    "tanh": _monotone(np.tanh, -1.0, 1.0),
    "sinh": _monotone(np.sinh),
    "cosh": _cosh,
    "logistic": _monotone(FUNCTIONS["logistic"], 0.0, 1.0),
    "sin": _wave(np.sin, 0.5),
    "cos": _wave(np.cos, 0.0),
}
