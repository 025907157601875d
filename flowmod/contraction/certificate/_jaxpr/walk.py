"""The walk through a jaxpr, equation by equation."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from .._builder import Builder
from .._program import Program
from . import arrays
from .rules import RULES, Symbolic, UnsupportedPrimitive, Value, refused, where_of
from .whole_numbers import Ranges

_AS_FLOATS = "Make floats of them first, `.astype(float)`."


def program_of(fn: Callable, n: int) -> Program:
    """The straight-line program of a function of a flat vector.

    Args:
        fn: a traceable function of an (n,) float64 array; its result, of any shape, is taken flat.
        n: how many numbers it takes.

    Returns:
        A program with `n` inputs that is equal to the function in real arithmetic wherever it is defined. A condition
        that depends on the inputs becomes a `select`; loops with a known number of turns are unrolled.

    Raises:
        UnsupportedPrimitive: for an operation that has no interval arithmetic, with its place in the user's code.
        ValueError: if JAX's double precision is off, or a part of the function is in another precision.
    """
    if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(
            "A certificate needs double precision: call `jax.config.update('jax_enable_x64', True)` first, and make "
            "the flow with float64 numbers."
        )
    closed = jax.make_jaxpr(fn)(jax.ShapeDtypeStruct((n,), np.float64))
    if len(closed.out_avals) != 1:
        raise ValueError(f"`fn` must return one array, got {len(closed.out_avals)}.")
    translator = Translator(Builder(n))
    [result] = translator.run(closed.jaxpr, closed.consts, [Symbolic(np.arange(n))])
    return translator.builder.program(translator.nodes(result).ravel().tolist())


class Translator:
    def __init__(self, builder: Builder):
        self.builder = builder
        self._ranges = Ranges(builder)

    def run(self, jaxpr: Jaxpr | ClosedJaxpr, consts: Sequence, values: Sequence[Value]) -> list[Value]:
        """The results of a jaxpr."""
        if isinstance(jaxpr, ClosedJaxpr):
            jaxpr, consts = jaxpr.jaxpr, jaxpr.consts
        known: dict[Any, Value] = dict(zip(jaxpr.invars, values, strict=True))
        known |= {var: np.asarray(const) for var, const in zip(jaxpr.constvars, consts, strict=True)}

        def read(atom) -> Value:
            # A literal may be a Python number; its array is told by its type.
            return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else known[atom]  # pyright: ignore

        for eqn in jaxpr.eqns:
            known |= zip(eqn.outvars, self._equation(eqn, [read(atom) for atom in eqn.invars]), strict=True)
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, eqn, values: list[Value]) -> Sequence[Value]:
        name = eqn.primitive.name
        if name not in RULES:
            raise UnsupportedPrimitive(name, where_of(eqn))
        try:
            result = RULES[name](self, eqn, values)
        except UnsupportedPrimitive as error:
            # Functions of JAX that are compiled once don't know by whom they are called; the call does.
            raise error if error.where else error.at(where_of(eqn)) from None
        results = result if isinstance(result, list) else [result]
        for var, value in zip(eqn.outvars, results, strict=True):
            dtype = var.aval.dtype
            if isinstance(value, Symbolic) and dtype.kind in "iu" and not self._ranges.fit(value.nodes, dtype):
                raise refused(eqn, f"on whole numbers that depend on the state and may not fit in {dtype}", _AS_FLOATS)
        return results

    def nodes(self, value: Value) -> arrays.Nodes:
        """The nodes of an array; those of a known one are constants."""
        if isinstance(value, Symbolic):
            return value.nodes
        nodes = [self.builder.constant(number) for number in value.ravel()]
        return np.array(nodes, dtype=int).reshape(value.shape)

    def known(self, value: Value) -> np.ndarray | None:
        """The numbers of an array that does not depend on the inputs."""
        if not isinstance(value, Symbolic):
            return value
        numbers = [self.builder.value(int(node)) for node in value.nodes.ravel()]
        if any(number is None for number in numbers):
            return None
        return np.array(numbers, dtype=float).reshape(value.nodes.shape)
