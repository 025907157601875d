"""Programs put together operation by operation: equal operations once, and what is exact in real arithmetic simplified.

Nothing here rounds, and nothing that may be undefined is dropped: `0 * log x` is 0 only where x > 0.
"""

import math
from collections.abc import Callable
from fractions import Fraction

from . import _identities as identities
from ._program import ARITY, Operation, Program
from ._signs import NOT_NEGATIVE, UNKNOWN, is_defined, sign_of

_AT_ZERO = {"exp": 1.0, "cosh": 1.0, "cos": 1.0, "logistic": 0.5}
_AT_ZERO |= dict.fromkeys(("expm1", "log1p", "tanh", "sinh", "sin", "sqrt"), 0.0)


class Builder:
    """A growing program: methods named after the operations take nodes and return one.

    Attributes:
        inputs: how many inputs; they are the first nodes.
    """

    def __init__(self, inputs: int):
        self.inputs = inputs
        self._operations: list[Operation] = []
        self._known: dict[Operation, int] = {}
        # Of each node: its sign, whether it is defined for all inputs, and the conditions of every `select` below it.
        self._signs: list[int] = [UNKNOWN] * inputs
        self._total: list[bool] = [True] * inputs
        self._conditions: list[frozenset[int]] = [frozenset()] * inputs

    def program(self, outputs) -> Program:
        """The operations that these nodes need, as a program."""
        needed, stack = set(), list(outputs)
        while stack:
            node = stack.pop()
            if node >= self.inputs and node not in needed:
                needed.add(node)
                stack += self._operations[node - self.inputs].operands
        number = {node: node for node in range(self.inputs)}
        operations = []
        for node in sorted(needed):
            name, operands, parameter = self._operations[node - self.inputs]
            number[node] = self.inputs + len(operations)
            parameter = math.nan if parameter is not None and math.isinf(parameter) else parameter
            operations.append(Operation(name, tuple(number[operand] for operand in operands), parameter))
        return Program(self.inputs, tuple(operations), tuple(number[node] for node in outputs))

    def operation(self, node: int) -> Operation:
        """The operation that makes a node; an input is its own, named `input`."""
        return Operation("input") if node < self.inputs else self._operations[node - self.inputs]

    def value(self, node: int) -> float | None:
        """The number that a node is, if it is a constant."""
        operation = self.operation(node)
        return operation.parameter if operation.name == "constant" else None  # pyright: ignore[reportReturnType]

    def constant(self, value: float) -> int:
        """A constant. Infinity is for comparisons; where it would be a value, it is undefined like NaN."""
        return self._new("constant", (), float(value) + 0.0)  # -0 is 0

    def apply(self, name: str, *operands: int) -> int:
        """An operation without parameter by name, simplified."""
        numbers = [self.value(node) for node in operands]
        known = _exactly(name, numbers) if all(number is not None for number in numbers) else None
        if known is not None:
            return self.constant(known)
        simpler = getattr(self, f"_{name}", None)
        node = simpler(*operands) if simpler else None
        return self._new(name, operands) if node is None else node

    def defined(self, node: int) -> int:
        """1 where the node is defined; undefined elsewhere."""
        if self._total[node]:
            return self.constant(1.0)
        return self._new("le", (self.constant(0.0), self.apply("abs", node)))

    def zero(self, node: int) -> int:
        """0 where the node is defined; undefined elsewhere."""
        if self._total[node]:
            return self.constant(0.0)
        return self._new("min", (self.constant(0.0), self.apply("abs", node)))

    def negation(self, condition: int) -> int:
        """1 for 0 and 0 for 1, without rounding."""
        return self.select(condition, self.constant(1.0), self.constant(0.0))

    def integer_pow(self, x: int, n: int) -> int:
        if n == 0:
            return self.apply("add", self.constant(1.0), self.zero(x))
        if n == 1:
            return x
        number = self.value(x)
        if number is not None and math.isfinite(number) and (number != 0 or n > 0) and abs(n) < 64:
            power = _float(Fraction(number) ** n)
            if power is not None:
                return self.constant(power)
        name, operands, _ = self.operation(x)
        if name in ("neg", "abs") and n % 2 == 0:
            return self.integer_pow(operands[0], n)
        return self._new("integer_pow", (x,), n)

    def pow(self, x: int, p: float) -> int:
        """`x^p`; whole exponents have no domain, others want x >= 0."""
        if p.is_integer() and abs(p) < 2**31:
            return self.integer_pow(x, int(p))
        if p == 0.5:
            return self.apply("sqrt", x)
        if self.value(x) in (0, 1) and p > 0:
            return x
        return self._new("pow", (x,), p)

    def power(self, x: int, y: int) -> int:
        """`x^y`, with a constant exponent if `y` is one, else `exp(y log x)`."""
        exponent = self.value(y)
        if exponent is not None and math.isfinite(exponent):
            return self.pow(x, exponent)
        return self.apply("exp", self.apply("mul", y, self.apply("log", x)))

    def select(self, condition: int, if_false: int, if_true: int) -> int:
        """The value by a condition, in which each branch knows how the condition came out."""
        number = self.value(condition)
        if number is not None and not math.isnan(number):
            return if_true if number else if_false
        name, operands, _ = self.operation(condition)
        if name == "le":
            return self.select(self.apply("lt", *operands[::-1]), if_true, if_false)
        if name == "select" and [self.value(node) for node in operands[1:]] == [1.0, 0.0]:
            return self.select(operands[0], if_true, if_false)
        # `where(x > 0, f(where(x > 0, x, 1)), 0)` is f(x) or 0: the guard inside would make intervals wide.
        if_false, if_true = self._given(condition, False, if_false), self._given(condition, True, if_true)
        if_false, if_true = self._on_side(condition, False, if_false), self._on_side(condition, True, if_true)
        if if_false == if_true and self._total[condition]:
            return if_true
        return self._new("select", (condition, if_false, if_true))

    # --- what a program may be simplified to, or None ---

    def _neg(self, x):
        name, operands, _ = self.operation(x)
        if name == "neg":
            return operands[0]
        return self.apply("sub", operands[1], operands[0]) if name == "sub" else None

    def _abs(self, x):
        number = self.value(x)
        if number is not None and math.isinf(number):
            return self.constant(math.nan)
        name, operands, _ = self.operation(x)
        return self.apply("abs", operands[0]) if name == "neg" else x if self._signs[x] >= NOT_NEGATIVE else None

    def _add(self, x, y):
        for a, b in ((x, y), (y, x)):
            if self.value(a) == 0:
                return b
            if self.operation(a).name == "neg":
                return self.apply("sub", b, self.operation(a).operands[0])
            simpler = identities.sum_of(self, a, b)
            if simpler is not None:
                return simpler
        return self._new("add", (min(x, y), max(x, y)))

    def _sub(self, x, y):
        if x == y:
            return self.zero(x)
        if self.value(y) == 0:
            return x
        if self.value(x) == 0:
            return self.apply("neg", y)
        name, operands, _ = self.operation(y)
        return self.apply("add", x, operands[0]) if name == "neg" else identities.difference(self, x, y)

    def _mul(self, x, y):
        if x == y:
            return self.integer_pow(x, 2)
        for a, b in ((x, y), (y, x)):
            number, (name, operands, _) = self.value(a), self.operation(a)
            if number in (0, 1, -1):
                return self.zero(b) if number == 0 else b if number == 1 else self.apply("neg", b)
            if name == "neg":
                return self.apply("neg", self.apply("mul", operands[0], b))
        simpler = identities.product(self, x, y)
        return self._new("mul", (min(x, y), max(x, y))) if simpler is None else simpler

    def _exp(self, x):
        return identities.exponential(self, x)

    def _div(self, x, y):
        number = self.value(y)
        if number in (1, -1):
            return x if number == 1 else self.apply("neg", x)
        for a, b in ((x, y), (y, x)):
            name, operands, _ = self.operation(a)
            if name == "neg":
                return self.apply("neg", self.apply("div", *((operands[0], b) if a == x else (b, operands[0]))))
        return identities.quotient(self, x, y)

    def _min(self, x, y):
        return self._extreme("min", math.inf, x, y)

    def _max(self, x, y):
        return self._extreme("max", -math.inf, x, y)

    def _extreme(self, name, neutral, x, y):
        for a, b in ((x, y), (y, x)):
            operation = self.operation(a)
            if a == b or self.value(b) == neutral or (operation.name == name and b in operation.operands):
                return a
            # So `zero` and `defined` of another program's node are seen again.
            if self.value(a) == 0 and self._signs[b] >= NOT_NEGATIVE and self._total[b]:
                return a if name == "min" else b
        return self._new(name, (min(x, y), max(x, y)))

    def _lt(self, x, y):
        return self.negation(self.defined(x)) if x == y else self._beside_infinity(x, y)

    def _le(self, x, y):
        if self.value(x) == 0 and self._signs[y] >= NOT_NEGATIVE and self._total[y]:
            return self.constant(1.0)
        return self.defined(x) if x == y else self._beside_infinity(x, y)

    def _beside_infinity(self, x, y):
        """The verdict of `x < y` if one of them is infinite, and the other so a finite number or undefined."""
        for infinity, other, less in ((x, y, -math.inf), (y, x, math.inf)):
            number = self.value(infinity)
            if number is not None and math.isinf(number):
                return self.defined(other) if number == less else self.negation(self.defined(other))
        return None

    def _eq(self, x, y):
        if x == y:
            return self.defined(x)
        verdict = self._beside_infinity(x, y)
        if verdict is not None:
            return self.apply("min", verdict, self.negation(verdict))
        # x = max(x, a, b) if max(a, b) <= x: intervals can't tell when two wide ones are equal.
        for one, other in ((x, y), (y, x)):
            for name in ("max", "min"):
                rest = self._rest(name, other, one)
                if rest is not None:
                    return self.apply("le", *((rest, one) if name == "max" else (one, rest)))
        return self._new("eq", (min(x, y), max(x, y)))

    def _rest(self, name: str, tree: int, leaf: int) -> int | None:
        """The `max` (or `min`) of all leaves but one of a tree of them; `None` if it isn't among them."""
        operation = self.operation(tree)
        if operation.name != name:
            return None
        for i, j in ((0, 1), (1, 0)):
            one, other = operation.operands[i], operation.operands[j]
            if one == leaf:
                return other
            rest = self._rest(name, one, leaf)
            if rest is not None:
                return self.apply(name, rest, other)
        return None

    # --- bookkeeping ---

    def _new(self, name: str, operands: tuple[int, ...], parameter: float | int | None = None) -> int:
        operation = Operation(name, operands, parameter)
        # NaN is not equal to itself, and 1 is equal to 1.0.
        key = Operation(name, operands, repr(parameter))  # pyright: ignore[reportArgumentType]
        if key not in self._known:
            self._known[key] = self.inputs + len(self._operations)
            self._operations.append(operation)
            signs = [self._signs[node] for node in operands]
            defined = is_defined(operation, signs, self.value(operands[-1]) if operands else None)
            self._total.append(defined and all(self._total[node] for node in operands))
            self._signs.append(sign_of(operation, signs))
            below = frozenset().union(*(self._conditions[node] for node in operands))
            self._conditions.append(below | {operands[0]} if name == "select" else below)
        return self._known[key]

    def _given(self, condition: int, truth: bool, node: int) -> int:
        """What a node is where a condition came out as told."""
        known = {condition: self.constant(float(truth))}
        return self._rewritten(node, known, lambda below: condition in self._conditions[below])

    def _on_side(self, condition: int, truth: bool, node: int) -> int:
        """The same for a comparison with a number: of `where(x > 0, sqrt(x), 0)`, the root of max(x, 0)."""
        name, operands, _ = self.operation(condition)
        if self._total[node] or name != "lt":
            return node
        for x, number, above in ((*operands, not truth), (*operands[::-1], truth)):
            if self.value(number) is not None and self.value(x) is None:
                return self.with_equal(node, x, self.apply("max" if above else "min", x, number))
        return node

    def with_equal(self, node: int, replaced: int, kept: int) -> int:
        """What a node is where two others are equal: one is put in for the other."""
        return self._rewritten(node, {replaced: kept}, lambda below: below > replaced)

    def _rewritten(self, node: int, known: dict[int, int], concerned: Callable[[int], bool]) -> int:
        """A node with some nodes replaced; only those `concerned`, and what is above them, are looked at."""
        found, stack = set(), [node]
        while stack:
            below = stack.pop()
            if below not in found and below not in known and concerned(below):
                found.add(below)
                stack += self.operation(below).operands
        # Nodes are in an order in which they can be made, and a program may be too deep for a recursion.
        for below in sorted(found):
            name, operands, parameter = self.operation(below)
            changed = [known.get(operand, operand) for operand in operands]
            if changed != list(operands):
                known[below] = self.again(name, changed, parameter)
        return known.get(node, node)

    def again(self, name: str, operands: list[int], parameter: float | int | None) -> int:
        """An operation of another program, on nodes of this one."""
        if name == "constant":
            return self.constant(parameter)  # pyright: ignore[reportArgumentType]
        if name == "select":
            return self.select(*operands)
        if name in ("integer_pow", "pow"):
            return getattr(self, name)(operands[0], parameter)
        return self.apply(name, *operands)


def _exactly(name: str, numbers: list) -> float | None:
    """The value of an operation on constants if a float64 is exactly it."""
    if not all(map(math.isfinite, numbers)) or ARITY[name] == 0:
        return None
    if name in _AT_ZERO and numbers == [0.0]:
        return _AT_ZERO[name]
    if name == "log" and numbers == [1.0]:
        return 0.0
    exact = [Fraction(number) for number in numbers]
    match name, exact:
        case "neg", [x]:
            value = -x
        case "abs", [x]:
            value = abs(x)
        case "add", [x, y]:
            value = x + y
        case "sub", [x, y]:
            value = x - y
        case "mul", [x, y]:
            value = x * y
        case "div", [x, y] if y:
            value = x / y
        case "min", [x, y]:
            value = min(x, y)
        case "max", [x, y]:
            value = max(x, y)
        case "lt", [x, y]:
            value = Fraction(x < y)
        case "le", [x, y]:
            value = Fraction(x <= y)
        case "eq", [x, y]:
            value = Fraction(x == y)
        case "sqrt", [x] if x > 0:
            root = math.sqrt(numbers[0])
            value = Fraction(root)
            return root if value * value == x else None
        case _:
            return None
    return _float(value)


def _float(value: Fraction) -> float | None:
    """The float64 that is this number, if there is one."""
    try:
        near = float(value)
    except OverflowError:
        return None
    return near if Fraction(near) == value else None
