"""What the form of an operation tells of its sign, and so of where it is defined: `1 + e^x` is never zero."""

import math
from collections.abc import Sequence

from ._program import Operation

UNKNOWN, NOT_NEGATIVE, POSITIVE = 0, 1, 2


def sign_of(operation: Operation, signs: Sequence[int]) -> int:
    """The sign of a value wherever it is defined, from the signs of its operands."""
    name, _, parameter = operation
    match name:
        case "constant":
            if not math.isfinite(parameter):  # pyright: ignore
                return UNKNOWN
            return POSITIVE if parameter > 0 else NOT_NEGATIVE if parameter == 0 else UNKNOWN  # pyright: ignore
        case "exp" | "cosh" | "logistic":
            return POSITIVE
        case "abs" | "sqrt" | "pow":
            return max(NOT_NEGATIVE, signs[0])
        case "integer_pow":
            return max(NOT_NEGATIVE, signs[0]) if parameter % 2 == 0 else signs[0]  # pyright: ignore
        case "add":
            return max(signs) if min(signs) >= NOT_NEGATIVE else UNKNOWN
        case "mul" | "div" | "min":
            return min(signs)
        case "max":
            return max(signs)
        case "select":
            return min(signs[1:])
        case "lt" | "le" | "eq":
            return NOT_NEGATIVE
        case "log1p" | "expm1" | "tanh" | "sinh":
            return signs[0]
        case _:
            return UNKNOWN


def is_defined(operation: Operation, signs: Sequence[int], last: float | None) -> bool:
    """Whether a value is defined wherever its operands are; `last` is the last operand if it is a constant."""
    name, _, parameter = operation
    match name:
        case "constant":
            return math.isfinite(parameter)  # pyright: ignore  # infinity is for comparisons
        case "div":
            return signs[1] == POSITIVE or (last is not None and last < 0)
        case "integer_pow":
            return parameter > 0 or signs[0] == POSITIVE or (last is not None and last < 0)  # pyright: ignore
        case "log":
            return signs[0] == POSITIVE
        case "sqrt":
            return signs[0] >= NOT_NEGATIVE
        case "pow":
            return signs[0] == POSITIVE or (parameter > 0 and signs[0] == NOT_NEGATIVE)  # pyright: ignore
        case "log1p":
            return signs[0] >= NOT_NEGATIVE
        case _:
            return True
