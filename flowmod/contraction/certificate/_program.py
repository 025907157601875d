"""A function as a scalar straight-line program: what a certificate is about, and what its file holds.

A program is a list of scalar operations in which each one uses earlier ones only. It stands for a function in *real*
arithmetic with float64 constants, not for the rounded arithmetic of a machine. It can be evaluated in floats
(`Program.evaluate`), in intervals (`_intervals.py`), and by anybody who reads the file: there are 26 operations.

```text
name           operands             value, and where it is undefined
`constant`     -                    the parameter; NaN is undefined
`neg` `abs`    x                    -x, |x|
`add` `sub` `mul` `min` `max`  x, y
`div`          x, y                 x / y; undefined at y = 0
`integer_pow`  x                    x^n with the integer parameter n, n != 0; for n < 0 undefined at x = 0
`pow`          x                    x^p with the real parameter p, no integer; undefined for x < 0, for p < 0 also at 0
`sqrt`         x                    undefined for x < 0
`log` `log1p`  x                    log x, log(1 + x); undefined for x <= 0, for x <= -1
`exp` `expm1` `tanh` `sinh` `cosh` `sin` `cos`  x    expm1 x = e^x - 1
`logistic`     x                    1 / (1 + e^-x)
`lt` `le` `eq` x, y                 1 if x < y, x <= y, x = y, else 0
`select`       c, a, b              a if c = 0, b if c = 1: the value if false comes first, as in JAX
```

An operation on something undefined is undefined, a comparison too; only `select` ignores the operand that it does not
select. For numbers that are 0 or 1, "and", "or", "not" are `min`, `max` and `select` of 1 and 0, which don't round.

In intervals, a comparison that the operands don't decide is [0, 1], and `select` by [0, 1] is the hull of both
operands: for the derivative at a kink (`relu`, `abs`, `max`) this contains Clarke's generalised Jacobian. A hull with
something undefined is undefined. An output that may be undefined is [-inf, inf].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Operation(NamedTuple):
    """One scalar operation.

    Attributes:
        name: one of `ARITY`.
        operands: the nodes it acts on.
        parameter: the number of a `constant`, the exponent of `integer_pow` and `pow`, else `None`.
    """

    name: str
    operands: tuple[int, ...] = ()
    parameter: float | int | None = None


def _logistic(x):
    # Not 1 / (1 + e^-x), which loses all digits where it is small.
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1 + small)


FUNCTIONS: dict[str, Callable] = {
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "logistic": _logistic,
    "sin": np.sin,
    "cos": np.cos,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
    "lt": lambda x, y: np.less(x, y).astype(float),
    "le": lambda x, y: np.less_equal(x, y).astype(float),
    "eq": lambda x, y: np.equal(x, y).astype(float),
    "select": lambda c, a, b: np.where(c != 0, b, a),
}
"""The operations without a parameter, in floats."""

POWERS: dict[str, Callable] = {
    "integer_pow": lambda x, n: np.power(x, float(n)),
    "pow": np.power,
}

_BINARY = ("add", "sub", "mul", "div", "min", "max", "lt", "le", "eq")
ARITY = {"constant": 0, "select": 3, **dict.fromkeys(POWERS, 1)}
ARITY |= {name: 2 if name in _BINARY else 1 for name in FUNCTIONS if name != "select"}
"""How many operands each operation has."""


@dataclass(frozen=True)
class Program:
    """A function from `inputs` numbers to `len(outputs)` numbers.

    Attributes:
        inputs: how many; they are the nodes 0 to `inputs - 1`.
        operations: the i-th one makes the node `inputs + i` from earlier nodes.
        outputs: the nodes that are the result, in order; a node may come twice, and may be an input.

    Raises:
        ValueError: for an operation that does not exist, that uses later nodes, or has the wrong operands or parameter.
    """

    inputs: int
    operations: tuple[Operation, ...]
    outputs: tuple[int, ...]

    def __post_init__(self):
        if not _is_integer(self.inputs) or self.inputs < 0:
            raise ValueError(f"`inputs` must be a number of inputs, got {self.inputs!r}.")
        for index, operation in enumerate(self.operations):
            problem = _problem(operation, self.inputs + index)
            if problem:
                raise ValueError(f"operation {index} of the program, {tuple(operation)!r}: {problem}.")
        nodes = self.inputs + len(self.operations)
        for node in self.outputs:
            if not _is_integer(node) or not 0 <= node < nodes:
                raise ValueError(f"output {node!r} of the program is none of its {nodes} nodes.")

    def evaluate(self, points: Any) -> np.ndarray:
        """The function in plain floats, NaN where it is undefined.

        Args:
            points: (points, inputs), float64.

        Returns:
            (points, outputs).
        """
        points = np.asarray(points, dtype=float)
        values = list(points.T)
        with np.errstate(all="ignore"):
            for name, operands, parameter in self.operations:
                taken = [values[node] for node in operands]
                if name == "constant":
                    values.append(np.full(len(points), parameter, dtype=float))
                elif name in POWERS:
                    values.append(POWERS[name](*taken, parameter))
                else:
                    values.append(FUNCTIONS[name](*taken))
        return np.stack([values[node] for node in self.outputs], axis=1) if self.outputs else np.empty((len(points), 0))

    def to_json(self) -> dict:
        """Plain lists for a JSON file: a float as `float.hex()`, which loses no digit, an integer exponent as it is."""
        operations = [
            [name, list(operands), parameter.hex() if isinstance(parameter, float) else parameter]
            for name, operands, parameter in self.operations
        ]
        return {"inputs": self.inputs, "operations": operations, "outputs": list(self.outputs)}

    @classmethod
    def from_json(cls, data: dict) -> "Program":
        """The program of what `to_json` made.

        Raises:
            ValueError: saying where, if the lists are no program.
        """
        for key, kind in (("inputs", int), ("operations", list), ("outputs", list)):
            if not isinstance(data, dict) or not isinstance(data.get(key), kind):
                raise ValueError(f"a program needs `{key}`, {'a whole number' if kind is int else 'a list'}.")
        operations = tuple(_operation(index, entry) for index, entry in enumerate(data["operations"]))
        return cls(data["inputs"], operations, tuple(data["outputs"]))


def _operation(index: int, entry: Any) -> Operation:
    try:
        name, operands, parameter = entry
        return Operation(name, tuple(operands), float.fromhex(parameter) if isinstance(parameter, str) else parameter)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"operation {index} of the program, {entry!r}, is no [name, operands, parameter] ({error})."
        ) from error


def _problem(operation: Operation, node: int) -> str | None:
    """What is wrong with the operation that makes `node`."""
    name, operands, parameter = operation
    if not isinstance(name, str) or name not in ARITY:
        return f"there is no operation `{name}`"
    if len(operands) != ARITY[name]:
        return f"`{name}` has {ARITY[name]} operands, not {len(operands)}"
    if not all(_is_integer(operand) and 0 <= operand < node for operand in operands):
        return f"an operand is none of the {node} earlier nodes"
    if name == "integer_pow":
        return None if _is_integer(parameter) and parameter else "the exponent must be an integer other than 0"
    if name == "pow":
        fits = isinstance(parameter, float) and np.isfinite(parameter) and not parameter.is_integer()
        return None if fits else "the exponent must be a finite float that is no integer"
    if name == "constant":
        fits = isinstance(parameter, float) and not np.isinf(parameter)
        return None if fits else "the constant must be a float, finite or NaN"
    return None if parameter is None else f"`{name}` has no parameter"


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
