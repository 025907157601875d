"""Primitives that compute: entry by entry, and over axes."""

from collections.abc import Callable
from functools import partial

import numpy as np

from .._builder import Builder
from . import arrays
from .rules import Symbolic, dtype_of, refused, require_double, rule_for


def _arithmetic(name: str, exact: Callable | None, function: Callable, on_bits: bool = False) -> None:
    """An entrywise primitive: `exact` on whole numbers and conditions, `function(builder, *nodes)` on the rest."""

    @rule_for(*name.split())
    def rule(translator, eqn, values):
        if exact and dtype_of(eqn).kind in "iub" and not any(isinstance(value, Symbolic) for value in values):
            return np.asarray(exact(*values)).astype(dtype_of(eqn))
        if on_bits and dtype_of(eqn) != np.bool_:
            raise refused(eqn, "on the bits of numbers that depend on the state")
        require_double(eqn)
        nodes = [translator.nodes(value) for value in values]
        return Symbolic(arrays.entrywise(lambda *entry: function(translator.builder, *entry), *nodes))


def _named(name: str) -> Callable:
    return lambda builder, *nodes: builder.apply(name, *nodes)


def _swapped(name: str) -> Callable:
    return lambda builder, x, y: builder.apply(name, y, x)


def _not(name: str) -> Callable:
    return lambda builder, *nodes: builder.negation(builder.apply(name, *nodes))


def _sign(builder, x):
    zero, one = builder.constant(0.0), builder.constant(1.0)
    positive = builder.select(builder.apply("lt", zero, x), zero, one)
    return builder.select(builder.apply("lt", x, zero), positive, builder.constant(-1.0))


for _name in ("exp", "expm1", "log", "log1p", "tanh", "sinh", "cosh", "logistic", "sqrt", "sin", "cos"):
    _arithmetic(_name, None, _named(_name))
_arithmetic("add add_any", np.add, _named("add"))
_arithmetic("sub", np.subtract, _named("sub"))
_arithmetic("mul", np.multiply, _named("mul"))
_arithmetic("neg", np.negative, _named("neg"))
_arithmetic("abs", np.abs, _named("abs"))
_arithmetic("max", np.maximum, _named("max"))
_arithmetic("min", np.minimum, _named("min"))
_arithmetic("sign", np.sign, _sign)
_arithmetic("square", np.square, lambda builder, x: builder.integer_pow(x, 2))
_arithmetic("rsqrt", None, lambda b, x: b.apply("div", b.constant(1.0), b.apply("sqrt", x)))
_arithmetic("tan", None, lambda b, x: b.apply("div", b.apply("sin", x), b.apply("cos", x)))
_arithmetic("exp2", None, lambda b, x: b.power(b.constant(2.0), x))
_arithmetic("lt", np.less, _named("lt"))
_arithmetic("le", np.less_equal, _named("le"))
_arithmetic("gt", np.greater, _swapped("lt"))
_arithmetic("ge", np.greater_equal, _swapped("le"))
_arithmetic("eq", np.equal, _named("eq"))
_arithmetic("ne", np.not_equal, _not("eq"))
# Every defined real number is finite.
_arithmetic("is_finite", np.isfinite, lambda builder, x: builder.defined(x))
_arithmetic(
    "clamp", lambda low, x, high: np.clip(x, low, high), lambda b, lo, x, hi: b.apply("min", b.apply("max", x, lo), hi)
)


_arithmetic("and", np.bitwise_and, _named("min"), on_bits=True)
_arithmetic("or", np.bitwise_or, _named("max"), on_bits=True)
_arithmetic("not", np.bitwise_not, lambda builder, x: builder.negation(x), on_bits=True)
_arithmetic("xor", np.bitwise_xor, lambda b, x, y: b.select(x, y, b.negation(y)), on_bits=True)


@rule_for("div")
def _div(translator, eqn, values):
    if dtype_of(eqn).kind in "iu":
        x, y = _whole(translator, eqn, values)
        return np.trunc(x / y).astype(dtype_of(eqn))
    require_double(eqn)
    divide = partial(translator.builder.apply, "div")
    return Symbolic(arrays.entrywise(divide, *map(translator.nodes, values)))


@rule_for("rem")
def _rem(translator, eqn, values):
    return np.fmod(*_whole(translator, eqn, values)).astype(dtype_of(eqn))


def _whole(translator, eqn, values) -> list[np.ndarray]:
    known = [translator.known(value) for value in values]
    if any(value is None for value in known) or dtype_of(eqn).kind == "f":
        raise refused(eqn, "which jumps with the state")
    return known  # pyright: ignore[reportReturnType]


@rule_for("integer_pow")
def _integer_pow(translator, eqn, values):
    exponent = eqn.params["y"]
    if dtype_of(eqn).kind in "iu":
        return np.power(_whole(translator, eqn, values)[0], exponent)
    require_double(eqn)
    return Symbolic(
        arrays.entrywise(lambda x: translator.builder.integer_pow(x, exponent), translator.nodes(values[0]))
    )


@rule_for("pow")
def _pow(translator, eqn, values):
    require_double(eqn)
    return Symbolic(arrays.entrywise(translator.builder.power, *map(translator.nodes, values)))


@rule_for("select_n")
def _select(translator, eqn, values):
    which, *cases = values
    known = translator.known(which)
    if known is not None and not any(isinstance(case, Symbolic) for case in cases):
        return np.choose(known.astype(int), cases)
    nodes = [translator.nodes(case) for case in cases]
    if known is not None:
        return Symbolic(np.choose(known.astype(int), nodes))
    return Symbolic(arrays.entrywise(lambda *entry: choose(translator.builder, *entry), which.nodes, *nodes))


def choose(builder: Builder, which: int, first: int, *others: int) -> int:
    """The case that a whole number names; one below or above all takes the nearest."""
    if len(others) == 1:
        return builder.select(which, first, others[0])
    chosen = first
    for number, case in enumerate(others):
        # Halfway between two numbers, because intervals of sums of whole numbers are a little wider than these.
        chosen = builder.select(builder.apply("lt", builder.constant(number + 0.5), which), chosen, case)
    return chosen


@rule_for("convert_element_type")
def _convert(translator, eqn, values):
    [value] = values
    new, old = np.dtype(eqn.params["new_dtype"]), np.dtype(eqn.invars[0].aval.dtype)
    if not isinstance(value, Symbolic):
        if new.kind == "f" and new != np.float64 and old.kind == "f" and new.itemsize < old.itemsize:
            require_double(eqn)
        return value.astype(new)
    require_double(eqn)
    if new.kind == "b" and old.kind != "b":
        builder = translator.builder
        zero = builder.constant(0.0)
        return Symbolic(arrays.entrywise(lambda x: builder.negation(builder.apply("eq", x, zero)), value.nodes))
    if new.kind in "iu" and old.kind == "f":
        raise refused(eqn, "which makes a whole number of one that depends on the state")
    return value


# --- sums and products over axes ---


def _reduction(name: str, operation: str, exact: Callable, start: float | None) -> None:
    @rule_for(*name.split())
    def rule(translator, eqn, values):
        # Those of Equinox that `vmap` does not touch, with which it asks for errors, are over all axes.
        [value], axes = values, tuple(eqn.params.get("axes", range(eqn.invars[0].aval.ndim)))
        if not isinstance(value, Symbolic) and value.dtype.kind in "iub":
            return exact(value, axis=axes).astype(dtype_of(eqn))
        require_double(eqn)
        return Symbolic(arrays.reduce(translator.builder, operation, start, translator.nodes(value), axes))


_reduction("reduce_sum", "add", np.sum, 0.0)
_reduction("reduce_prod", "mul", np.prod, 1.0)
_reduction("reduce_max unvmap_max", "max", np.max, None)
_reduction("reduce_min", "min", np.min, None)
_reduction("reduce_and", "min", np.all, 1.0)
_reduction("reduce_or unvmap_any", "max", np.any, 0.0)


def _cumulative(name: str, operation: str, exact: np.ufunc) -> None:
    @rule_for(name)
    def rule(translator, eqn, values):
        [value], axis, reverse = values, eqn.params["axis"], eqn.params["reverse"]
        if not isinstance(value, Symbolic) and value.dtype.kind in "iub":
            turned = np.flip(value, axis) if reverse else value
            result = exact.accumulate(turned, axis=axis, dtype=value.dtype)
            return np.flip(result, axis) if reverse else result
        require_double(eqn)
        return Symbolic(arrays.accumulate(translator.builder, operation, translator.nodes(value), axis, reverse))


_cumulative("cumsum", "add", np.add)
_cumulative("cumprod", "mul", np.multiply)
_cumulative("cummax", "max", np.maximum)
_cumulative("cummin", "min", np.minimum)


@rule_for("dot_general")
def _dot_general(translator, eqn, values):
    require_double(eqn)
    left, right = map(translator.nodes, values)
    return Symbolic(arrays.contract(translator.builder, left, right, *eqn.params["dimension_numbers"]))
