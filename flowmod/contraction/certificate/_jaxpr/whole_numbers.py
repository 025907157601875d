"""Whole numbers that depend on the state, such as counts of conditions: those of a program do not wrap around."""

import math

import numpy as np

from .._builder import Builder
from .arrays import Nodes

_EXACT = 2**53 - 1
"""The largest whole number that is a float64, as is every smaller one."""

Range = tuple[float, float]


class Ranges:
    """The least and the largest value that whole numbers of a program may have, for all states.

    Args:
        builder: the program.
    """

    def __init__(self, builder: Builder):
        self._builder = builder
        self._known: dict[int, Range] = {}

    def fit(self, nodes: Nodes, dtype: np.dtype) -> bool:
        """Whether none of these can leave the numbers of a type."""
        least, most = max(np.iinfo(dtype).min, -_EXACT), min(np.iinfo(dtype).max, _EXACT)
        ranges = [self._range(int(node)) for node in nodes.ravel()]
        return all(least <= low and high <= most for low, high in ranges)

    def _range(self, node: int) -> Range:
        found, stack = set(), [node]
        while stack:
            below = stack.pop()
            if below not in found and below not in self._known:
                found.add(below)
                name, operands, _ = self._builder.operation(below)
                stack += operands if name in _RULES else ()
        for below in sorted(found):
            name, operands, parameter = self._builder.operation(below)
            if name in _RULES:
                self._known[below] = _RULES[name](*(self._known[operand] for operand in operands))
            elif name in ("lt", "le", "eq"):
                self._known[below] = 0, 1
            elif name == "constant":
                # What is undefined stays it, whatever is done with it.
                value: float = 0 if math.isnan(parameter) else parameter  # pyright: ignore
                self._known[below] = value, value
            else:
                self._known[below] = -math.inf, math.inf
        return self._known[node]


def _mul(x: Range, y: Range) -> Range:
    products = [a * b for a in x for b in y]
    # Zero times what is not known is NaN, which fits nowhere.
    return (math.nan, math.nan) if any(map(math.isnan, products)) else (min(products), max(products))


_RULES = {
    "neg": lambda x: (-x[1], -x[0]),
    "abs": lambda x: (max(x[0], -x[1], 0), max(-x[0], x[1])),
    "add": lambda x, y: (x[0] + y[0], x[1] + y[1]),
    "sub": lambda x, y: (x[0] - y[1], x[1] - y[0]),
    "mul": _mul,
    "min": lambda x, y: (min(x[0], y[0]), min(x[1], y[1])),
    "max": lambda x, y: (max(x[0], y[0]), max(x[1], y[1])),
    "select": lambda c, a, b: (min(a[0], b[0]), max(a[1], b[1])),
}
