"""The programs of a certificate's file in mpmath's interval arithmetic: what `verify.py` evaluates, and nothing else.

Values and derivatives, by rules that share no line with those that made the file. An interval is an `iv.mpf`, or `None`
where a value may be undefined.
"""

import functools
import math
import operator
import sys
from typing import Any

try:
    import mpmath
except ModuleNotFoundError:
    print("The module `mpmath` is not installed: pip install 'flowmod[verify]'", file=sys.stderr)
    sys.exit(2)

iv: Any = mpmath.iv
iv.dps = 30
ZERO = iv.mpf(0)


def _hull(a, b):
    return iv.mpf([_min_of(a.a, b.a), _max_of(a.b, b.b)])


def _min_of(a, b):
    return a if a <= b else b


def _max_of(a, b):
    return b if a <= b else a


def _minimum(a, b):
    return iv.mpf([_min_of(a.a, b.a), _min_of(a.b, b.b)])


def _maximum(a, b):
    return -_minimum(-a, -b)


def _common(a, b):
    """What both enclosures of one number leave."""
    if a is None or b is None:
        return b if a is None else a
    return iv.mpf([_max_of(a.a, b.a), _min_of(a.b, b.b)])


def _truth(yes, no):
    """[1, 1], [0, 0], or [0, 1] for a comparison that the intervals leave open."""
    return iv.mpf([0, 1]) if not (yes or no) else iv.mpf(int(yes))


def _equal(a, b):
    points = a.delta == 0 and b.delta == 0
    return _truth(points and a.a == b.a, a.b < b.a or b.b < a.a)


def _power(x, p):
    """`x^p` for a real `p` that is no integer."""
    if x.a > 0:
        return iv.exp(p * iv.log(x))
    if x.a < 0 or p < 0:
        return None
    return iv.mpf([0, iv.exp(p * iv.log(x.b)).b]) if x.b > 0 else iv.mpf(0)


def _root(x):
    return iv.sqrt(x) if x.a >= 0 else None


def _quotient(a, b):
    return a / b if b.a > 0 or b.b < 0 else None


def _integer_power(x, n):
    return x**n if n > 0 else _quotient(iv.mpf(1), x**-n)


def _tangent(x):
    # The function rises: its values at the ends are its range.
    low, high = (1 - 2 / (iv.exp(2 * end) + 1) for end in (x.a, x.b))
    return iv.mpf([low.a, high.b])


def _logistic(x):
    return 1 / (1 + iv.exp(-x))


def _cosh(x):
    ends = [(iv.exp(end) + iv.exp(-end)) / 2 for end in (x.a, x.b)]
    whole = _hull(*ends)
    return whole if x.a >= 0 or x.b <= 0 else iv.mpf([1, whole.b])


def _sinh(x):
    low, high = ((iv.exp(end) - iv.exp(-end)) / 2 for end in (x.a, x.b))
    return iv.mpf([low.a, high.b])


VALUES = {
    "neg": lambda x: -x,
    "abs": abs,
    "sqrt": _root,
    "exp": iv.exp,
    "expm1": lambda x: iv.exp(x) - 1,
    "log": lambda x: iv.log(x) if x.a > 0 else None,
    "log1p": lambda x: iv.log(1 + x) if x.a > -1 else None,
    "tanh": _tangent,
    "sinh": _sinh,
    "cosh": _cosh,
    "logistic": _logistic,
    "sin": iv.sin,
    "cos": iv.cos,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _quotient,
    "min": _minimum,
    "max": _maximum,
    "lt": lambda a, b: _truth(a.b < b.a, a.a >= b.b),
    "le": lambda a, b: _truth(a.b <= b.a, a.a > b.b),
    "eq": _equal,
}
"""The operations without a parameter."""

PARTIALS = {
    "neg": lambda y, x: [iv.mpf(-1)],
    "abs": lambda y, x: [iv.mpf(1) if x.a >= 0 else iv.mpf(-1) if x.b <= 0 else iv.mpf([-1, 1])],
    "sqrt": lambda y, x: [1 / (2 * y)] if y.a > 0 else [None],
    "exp": lambda y, x: [y],
    "expm1": lambda y, x: [y + 1],
    "log": lambda y, x: [1 / x],
    "log1p": lambda y, x: [1 / (1 + x)],
    "tanh": lambda y, x: [1 - y**2],
    "sinh": lambda y, x: [_cosh(x)],
    "cosh": lambda y, x: [_sinh(x)],
    "logistic": lambda y, x: [y * (1 - y)],
    "sin": lambda y, x: [iv.cos(x)],
    "cos": lambda y, x: [-iv.sin(x)],
    "add": lambda y, a, b: [iv.mpf(1), iv.mpf(1)],
    "sub": lambda y, a, b: [iv.mpf(1), iv.mpf(-1)],
    "mul": lambda y, a, b: [b, a],
    "div": lambda y, a, b: [1 / b, -y / b],
    "min": lambda y, a, b: _chosen(a.b <= b.a, b.b <= a.a),
    "max": lambda y, a, b: _chosen(b.b <= a.a, a.b <= b.a),
    "lt": lambda y, a, b: _jump(y),
    "le": lambda y, a, b: _jump(y),
    "eq": lambda y, a, b: _jump(y),
}
"""The partial derivatives from the value and the operands; `None` where there is none.

A kink on the side of a box is none inside of it: there, one branch is the function.
"""


def _chosen(first, second):
    """Of the smaller or larger of two: the derivatives by each, any convex pair where both may be taken."""
    share = iv.mpf([0, 1])
    return [iv.mpf(1), iv.mpf(0)] if first else [iv.mpf(0), iv.mpf(1)] if second else [share, share]


def _jump(y):
    return [iv.mpf(0), iv.mpf(0)] if y.delta == 0 else [None, None]


# --- the program ---


def _operation_value(name, parameter, taken):
    if name == "select":
        condition, *branches = taken
        if condition is None:
            return None
        if condition.delta == 0:
            return branches[int(condition.a != 0)]
        return None if None in branches else _hull(*branches)
    if name == "constant":
        return None if math.isnan(parameter) else iv.mpf(parameter)
    if None in taken:
        return None
    if name == "integer_pow":
        return _integer_power(taken[0], parameter)
    return _power(taken[0], parameter) if name == "pow" else VALUES[name](*taken)


def _operation_slope(name, parameter, y, taken, slopes, joined):
    """The derivatives of one operation by every input, `{input: interval}`; `None` where it may not be Lipschitz.

    Where a `select` is not decided but joins its branches, the slope between two points is one between those of both.
    """
    if y is None:
        return None
    if name == "constant":
        return {}
    if name == "select":
        if taken[0].delta == 0:
            return slopes[1 + int(taken[0].a != 0)]
        first, second = slopes[1:]
        if not joined or first is None or second is None:
            return None
        return {index: _hull(first.get(index, ZERO), second.get(index, ZERO)) for index in {*first, *second}}
    if name == "integer_pow":
        partials = [parameter * _integer_power(taken[0], parameter - 1) if parameter != 1 else iv.mpf(1)]
    elif name == "pow":
        inner = _power(taken[0], parameter - 1)
        partials = [None if inner is None else parameter * inner]
    else:
        partials = PARTIALS[name](y, *taken)
    if all(slope == {} for slope in slopes):
        return {}
    if None in partials or None in slopes:
        return None
    total = {}
    for partial, slope in zip(partials, slopes, strict=True):
        for index, inner in slope.items():
            term = partial * inner
            total[index] = total[index] + term if index in total else term
    return total


def evaluate(program, box, by):
    """The outputs on a box, a list of intervals, and their derivatives by the first inputs, as `{input: interval}`."""
    values = list(box)
    slopes: list[Any] = [{index: iv.mpf(1)} if index < by else {} for index in range(len(box))]
    for name, operands, parameter in program["operations"]:
        joined = len(values) in program["joined"]
        taken = [values[node] for node in operands]
        values.append(_operation_value(name, parameter, taken))
        if by:
            inner = [slopes[node] for node in operands]
            slopes.append(_operation_slope(name, parameter, values[-1], taken, inner, joined))
    outputs = program["outputs"]
    return [values[node] for node in outputs], [slopes[node] for node in outputs] if by else []


def enclose(program, lower, upper):
    """The outputs on a box in two forms: `(values, [])`, and `(values at the midpoint, [(slopes, step) by input])`.

    By the mean value theorem an output is its value at the midpoint `m` and `sum_k f'_k(box) (x_k - m_k)`.
    """
    box = [iv.mpf([low, high]) for low, high in zip(lower, upper, strict=True)]
    direct, slopes = evaluate(program, box, len(box))
    middle = [iv.mpf(low + (high - low) / 2) for low, high in zip(lower, upper, strict=True)]
    centre, _ = evaluate(program, middle, 0)
    by_input = [[None if slope is None else slope.get(k, ZERO) for slope in slopes] for k in range(len(box))]
    steps = [side - point for side, point in zip(box, middle, strict=True)]
    return (direct, []), (centre, list(zip(by_input, steps, strict=True)))


def total(terms) -> Any:
    """The sum of intervals."""
    return functools.reduce(operator.add, terms, ZERO)


def _multiply(a, b):
    return None if a is None or b is None else a * b


def entrywise(forms):
    """Each output on the box, as narrow as both forms have it."""
    (direct, _), (centre, slopes) = forms
    values = []
    for index, value in enumerate(direct):
        terms = [centre[index], *(_multiply(by_input[index], step) for by_input, step in slopes)]
        values.append(_common(value, None if None in terms else total(terms)))
    return values


def decoded(program, kept, continuous):
    """The program with its parameters as numbers, the nodes at which it has a kink and no jump, and other outputs.

    They are the first `kept` ones, and then every condition that has to be constant for those from number `continuous`
    on to be continuous: what the file has in that place is not believed.
    """
    operations = [
        (name, operands, float.fromhex(parameter) if isinstance(parameter, str) else parameter)
        for name, operands, parameter in program["operations"]
    ]
    for index, (name, operands, _) in enumerate(operations):
        node = program["inputs"] + index
        if not (name in VALUES or name in ("constant", "select", "pow", "integer_pow")):
            raise ValueError(f"operation {index}: there is no operation {name!r}")
        if not all(isinstance(operand, int) and 0 <= operand < node for operand in operands):
            raise ValueError(f"operation {index}: an operand is no earlier node")
    nodes, outputs = range(program["inputs"] + len(operations)), program["outputs"]
    if len(outputs) < kept or not all(isinstance(node, int) and node in nodes for node in outputs):
        raise ValueError(f"program: it must have {kept} outputs or more, each of them one of its nodes")
    program = {**program, "operations": operations, "outputs": outputs[:kept]}
    program["joined"] = {node for node in nodes[program["inputs"] :] if _joins(program, node)}
    program["outputs"] = outputs[:kept] + _conditions(program, outputs[continuous:kept])
    return program


def _conditions(program, outputs):
    """Where these outputs may jump: conditions of what has no mere kink, and comparisons that are used as numbers."""
    operations, inputs = program["operations"], program["inputs"]
    reached, stack, numbers, jumps = set(), list(outputs), set(outputs), set()
    while stack:
        node = stack.pop()
        if node < inputs or node in reached:
            continue
        reached.add(node)
        name, operands, _ = operations[node - inputs]
        if name == "select" and node not in program["joined"]:
            jumps.add(operands[0])
        numbers.update(operands[1:] if name == "select" else operands)
        stack += operands
    return sorted(jumps | {node for node in reached & numbers if operations[node - inputs][0] in _COMPARISONS})


# --- where a select has a kink and no jump ---

_COMPARISONS = ("lt", "le", "eq")


def _joins(program, node):
    """Whether a node is a `select` with two branches that are one where the two sides of its condition are equal."""
    operations, inputs = program["operations"], program["inputs"]
    name, operands, _ = operations[node - inputs]
    if name != "select" or operands[0] < inputs or operations[operands[0] - inputs][0] not in _COMPARISONS:
        return False
    kept, replaced = sorted(operations[operands[0] - inputs][1])
    if replaced >= inputs and operations[replaced - inputs][0] == "constant":
        kept, replaced = replaced, kept
    forms: list[Any] = [("input", index) for index in range(inputs)]
    if replaced < inputs:
        same = operations[kept - inputs][2] if kept >= inputs else None
        forms[replaced] = forms[kept] if same is None else ("number", iv.mpf(same))
    for index, (name, below, parameter) in enumerate(operations[: node - inputs], start=inputs):
        form = _form(name, [forms[operand] for operand in below], parameter)
        if index == replaced:
            # A constant may come after what is compared with it.
            constant = kept >= inputs and operations[kept - inputs][0] == "constant"
            form = ("number", iv.mpf(operations[kept - inputs][2])) if constant else forms[kept]
        forms.append(form)
    return forms[operands[1]] == forms[operands[2]]


def _form(name, below, parameter):
    """An expression with what is exactly known worked out; two that are equal are equal as functions."""
    if name == "constant":
        return ("number", iv.mpf(parameter)) if not math.isnan(parameter) else ("undefined",)
    numbers = [form[1] if form[0] == "number" else None for form in below]
    if None not in numbers:
        value = _operation_value(name, parameter, numbers)
        if value is not None and value.delta == 0:
            return ("number", value)
    if name in ("add", "mul"):
        neutral = 0 if name == "add" else 1
        for number, other in zip(numbers, below[::-1], strict=True):
            if number is not None and number == neutral:
                return other
    if name == "mul" and any(number is not None and number == 0 for number in numbers):
        return ("number", ZERO)
    if name == "sub" and numbers[1] is not None and numbers[1] == 0:
        return below[0]
    return (name, tuple(below), parameter)
