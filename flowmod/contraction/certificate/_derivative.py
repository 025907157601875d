"""The derivative of a program, as a program: exact, and of nobody's custom rules."""

from collections.abc import Callable
from fractions import Fraction

from ._builder import Builder
from ._inputs import with_outputs
from ._program import Operation, Program


def jacobian_of(program: Program) -> Program:
    """The partial derivatives of `with_slopes` alone."""
    both = with_slopes(program)
    return with_outputs(both, both.outputs[len(program.outputs) :])


def with_slopes(program: Program) -> Program:
    """A program and all its partial derivatives.

    At the kink of `abs`, `min`, `max` it is the derivative of one side; in intervals around the kink it is both. The
    jump of a `select` between unequal values is not seen: see `continuous`.

    Args:
        program: a program with P outputs.

    Returns:
        A program of the same inputs: its P outputs, then P x inputs derivatives, row by row; these are undefined where
        the program is.
    """
    builder = Builder(program.inputs)
    one = builder.constant(1.0)
    nodes = list(range(program.inputs))
    # Of each node, the derivatives that are not zero, by input.
    slopes: list[dict[int, int]] = [{i: one} for i in nodes]
    for operation in program.operations:
        operands = [nodes[operand] for operand in operation.operands]
        nodes.append(builder.again(operation.name, operands, operation.parameter))
        slopes.append(
            _chain(builder, operation, operands, nodes[-1], [slopes[operand] for operand in operation.operands])
        )
    outputs = [nodes[node] for node in program.outputs]
    for node in program.outputs:
        undefined = builder.zero(nodes[node])
        for i in range(program.inputs):
            slope = slopes[node].get(i, builder.constant(0.0))
            outputs.append(builder.apply("add", slope, undefined))
    return builder.program(outputs)


def _chain(
    builder: Builder, operation: Operation, operands: list[int], value: int, slopes: list[dict]
) -> dict[int, int]:
    """The derivatives of one operation by the chain rule."""
    if operation.name == "constant" or operation.name in ("lt", "le", "eq"):
        return {}
    inputs = sorted({i for slope in slopes for i in slope})
    if operation.name in ("select", "min", "max"):
        return {i: _chosen(builder, operation.name, operands, [slope.get(i) for slope in slopes]) for i in inputs}
    factors = _PARTIALS[operation.name](builder, *operands, value, operation.parameter)
    result = {}
    for i in inputs:
        total = builder.constant(0.0)
        for factor, slope in zip(factors, slopes, strict=True):
            if i in slope:
                total = builder.apply("add", total, builder.apply("mul", factor, slope[i]))
        result[i] = total
    return result


def _chosen(builder: Builder, name: str, operands: list[int], slopes: list[int | None]) -> int:
    first, second = (builder.constant(0.0) if slope is None else slope for slope in slopes[-2:])
    if name == "select":
        return builder.select(operands[0], first, second)
    less = builder.apply("lt", *operands)
    return builder.select(less, second, first) if name == "min" else builder.select(less, first, second)


def _abs(builder, x, value, parameter):
    return [
        builder.select(builder.apply("lt", x, builder.constant(0.0)), builder.constant(1.0), builder.constant(-1.0))
    ]


def _div(builder, x, y, value, parameter):
    return [builder.integer_pow(y, -1), builder.apply("neg", builder.apply("mul", x, builder.integer_pow(y, -2)))]


def _pow(builder, x, value, p):
    lower = p - 1
    if Fraction(lower) == Fraction(p) - 1:
        return [builder.apply("mul", builder.constant(p), builder.pow(x, lower))]
    # p - 1 is no float64, and its neighbour would be another function.
    return [builder.apply("div", builder.apply("mul", builder.constant(p), value), x)]


def _logistic(builder, x, value, parameter):
    return [builder.apply("mul", value, builder.apply("sub", builder.constant(1.0), value))]


_PARTIALS: dict[str, Callable] = {
    "neg": lambda b, x, value, _: [b.constant(-1.0)],
    "add": lambda b, x, y, value, _: [b.constant(1.0), b.constant(1.0)],
    "sub": lambda b, x, y, value, _: [b.constant(1.0), b.constant(-1.0)],
    "mul": lambda b, x, y, value, _: [y, x],
    "div": _div,
    "abs": _abs,
    "integer_pow": lambda b, x, value, n: [b.apply("mul", b.constant(float(n)), b.integer_pow(x, n - 1))],
    "pow": _pow,
    "sqrt": lambda b, x, value, _: [b.apply("div", b.constant(0.5), value)],
    "exp": lambda b, x, value, _: [value],
    "expm1": lambda b, x, value, _: [b.apply("exp", x)],
    "log": lambda b, x, value, _: [b.integer_pow(x, -1)],
    "log1p": lambda b, x, value, _: [b.integer_pow(b.apply("add", b.constant(1.0), x), -1)],
    "tanh": lambda b, x, value, _: [b.apply("sub", b.constant(1.0), b.integer_pow(value, 2))],
    "sinh": lambda b, x, value, _: [b.apply("cosh", x)],
    "cosh": lambda b, x, value, _: [b.apply("sinh", x)],
    "sin": lambda b, x, value, _: [b.apply("cos", x)],
    "cos": lambda b, x, value, _: [b.apply("neg", b.apply("sin", x))],
    "logistic": _logistic,
}
"""The partial derivatives of an operation by its operands: `(builder, *operands, value, parameter)`."""
