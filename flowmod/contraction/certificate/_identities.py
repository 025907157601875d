"""Identities of real numbers after which a formula names a quantity less often: intervals become narrower, values stay.

Derivatives repeat themselves: `(g + g t)(1 - t)` for a tanh and `exp(x - log(1 + e^x))` for a softplus by JAX,
`s (1 - s)` for a sigmoid, `e^x / (1 + e^x)` for a softplus. In intervals each repetition counts as another number. Both
sides of each identity are defined at the same points.
"""

from typing import Any

_DEPTH = 4


def product(builder: Any, x: int, y: int) -> int | None:
    """`x y` with two factors that make one: equal bases, `(1 + t)(1 - t)`, a logistic s with `1 - s`, a `quotient`."""
    left, right = _factors(builder, x, _DEPTH), _factors(builder, y, _DEPTH)
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            pair = _pair(builder, a, b)
            if pair is None:
                pair = _pair(builder, b, a)
            if pair is not None:
                for rest in (*left[:i], *left[i + 1 :], *right[:j], *right[j + 1 :]):
                    pair = builder.apply("mul", pair, rest)
                return pair
    return None


def sum_of(builder: Any, x: int, y: int) -> int | None:
    """`g + g t = g (1 + t)`, and `max(a, b) + log(1 + exp(-|a - b|)) = b + log(1 + exp(a - b))`."""
    name, operands, _ = builder.operation(y)
    if name == "mul" and x in operands:
        return builder.apply("mul", x, builder.apply("add", builder.constant(1.0), _other(operands, x)))
    if name == "log1p" and builder.operation(x).name == "max":
        a, b = builder.operation(x).operands
        a, b = (b, a) if builder.value(a) is not None else (a, b)
        distance = builder.apply("abs", builder.apply("sub", a, b))
        if operands[0] == builder.apply("exp", builder.apply("neg", distance)):
            excess = builder.apply("exp", builder.apply("sub", a, b))
            return builder.apply("add", b, builder.apply("log1p", excess))
    return None


def difference(builder: Any, x: int, y: int) -> int | None:
    """`g - g t = g (1 - t)`."""
    name, operands, _ = builder.operation(y)
    if name == "mul" and x in operands:
        return builder.apply("mul", x, builder.apply("sub", builder.constant(1.0), _other(operands, x)))
    return None


def exponential(builder: Any, x: int) -> int | None:
    """`exp(a - log(1 + e^a)) = logistic(a)`, and `exp(-log(1 + e^a)) = logistic(-a)`."""
    name, operands, _ = builder.operation(x)
    if name not in ("neg", "sub"):
        return None
    excess = _excess(builder, operands[-1])
    if excess is None:
        return None
    if name == "neg":
        return builder.apply("logistic", builder.apply("neg", excess))
    return builder.apply("logistic", excess) if operands[0] == excess else None


def quotient(builder: Any, x: int, y: int) -> int | None:
    """`e^a / (1 + e^a)`, and `e^(a - m) / sum_j e^(b_j - m) = 1 / sum_j e^(b_j - a)`: no softmax has a shift."""
    if builder.operation(x).name == "exp" and y == builder.apply("add", builder.constant(1.0), x):
        return builder.apply("logistic", builder.operation(x).operands[0])
    own = _shifted(builder, x)
    terms = [_shifted(builder, term) for term in _terms(builder, y)]
    if own is None or len(terms) < 2 or any(term is None or term[1] != own[1] for term in terms):
        return None
    total = builder.constant(0.0)
    for term, _ in terms:  # pyright: ignore[reportGeneralTypeIssues]
        total = builder.apply("add", total, builder.apply("exp", builder.apply("sub", term, own[0])))
    return builder.apply("add", builder.integer_pow(total, -1), builder.zero(own[1]))


def _shifted(builder: Any, x: int) -> tuple[int, int] | None:
    """The `a` and `m` of `e^(a - m)`."""
    name, operands, _ = builder.operation(x)
    inner = builder.operation(operands[0]) if name == "exp" else None
    return inner.operands if inner is not None and inner.name == "sub" else None


def _terms(builder: Any, x: int) -> list[int]:
    terms, stack = [], [x]
    while stack:
        name, operands, _ = builder.operation(stack.pop())
        for operand in operands if name == "add" else ():
            (stack if builder.operation(operand).name == "add" else terms).append(operand)
    return terms


def _excess(builder: Any, x: int) -> int | None:
    """The `a` of `log(1 + e^a)`."""
    name, operands, _ = builder.operation(x)
    inner = builder.operation(operands[0]) if name == "log1p" else None
    return inner.operands[0] if inner is not None and inner.name == "exp" else None


def _factors(builder: Any, x: int, depth: int) -> list[int]:
    name, operands, _ = builder.operation(x)
    if name != "mul" or depth == 0:
        return [x]
    return [factor for operand in operands for factor in _factors(builder, operand, depth - 1)]


def _pair(builder: Any, a: int, b: int) -> int | None:
    (base, n), (other, m) = _power(builder, a), _power(builder, b)
    if base == other and builder.value(base) is None:
        return builder.integer_pow(base, n + m)
    name, operands, parameter = builder.operation(b)
    if name == "div" or (name == "integer_pow" and parameter == -1):
        share = quotient(builder, a, operands[-1])
        return builder.apply("mul", operands[0], share) if name == "div" and share is not None else share
    if name != "sub" or builder.value(operands[0]) != 1:
        return None
    t, one = operands[1], builder.constant(1.0)
    if a == builder.apply("add", one, t):
        return builder.apply("sub", one, builder.integer_pow(t, 2))
    if a == t and builder.operation(t).name == "logistic":
        half = builder.apply("mul", builder.constant(0.5), builder.operation(t).operands[0])
        return builder.apply("mul", builder.constant(0.25), builder.integer_pow(builder.apply("cosh", half), -2))
    return None


def _power(builder: Any, x: int) -> tuple[int, int]:
    """Base and positive exponent."""
    name, operands, parameter = builder.operation(x)
    return (operands[0], parameter) if name == "integer_pow" and parameter > 0 else (x, 1)


def _other(operands: tuple[int, ...], x: int) -> int:
    return operands[1] if operands[0] == x else operands[0]
