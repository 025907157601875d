"""The trace of a function as one flat list of operations, and its evaluation with a look at each of them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, DebugInfo, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

_CALLS = ("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint")
"""Operations that only name a part of the program. A function with a derivative of its own is no such thing."""


def flat_jaxpr(fn: Callable, *args: Any) -> ClosedJaxpr:
    """The trace of `fn` for arrays or shapes, with the calls of compiled functions in it written out."""
    closed = jax.make_jaxpr(fn)(*args)
    return jax.make_jaxpr(lambda *leaves: evaluate(closed, leaves))(*jax.tree.leaves(args))


def evaluate(closed: ClosedJaxpr, args: Sequence[Any], after: Callable[[int, list, list], list] | None = None) -> list:
    """What a jaxpr computes, with calls written out.

    Args:
        closed: the jaxpr.
        args: what goes in.
        after: `after(place, operands, results)`, what to go on with in the place of an operation's results.
    """
    jaxpr = closed.jaxpr
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*closed.consts, *args), strict=True))

    def read(atom):
        return atom.val if isinstance(atom, Literal) else values[atom]

    for place, eqn in enumerate(jaxpr.eqns):
        operands = [read(atom) for atom in eqn.invars]
        results = _results(eqn, operands)
        if after is not None:
            results = after(place, operands, results)
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def shape_of(atom: Any) -> tuple[int, ...]:
    """The shape of a variable of a jaxpr."""
    return tuple(atom.aval.shape)


def dtype_of(atom: Any) -> Any:
    """The dtype of a variable of a jaxpr."""
    return atom.aval.dtype


def _results(eqn: JaxprEqn, operands: list) -> list:
    if eqn.primitive.name in _CALLS:
        inner = eqn.params["jaxpr"] if "jaxpr" in eqn.params else eqn.params["call_jaxpr"]
        return evaluate(inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ()), operands)
    # By way of a jaxpr of its own, because a custom derivative is not to be had by binding the primitive.
    taken = [(atom, value) for atom, value in zip(eqn.invars, operands, strict=True) if not isinstance(atom, Literal)]
    given = dict(taken)
    names = DebugInfo("flowmod", eqn.primitive.name, ("",) * len(given), ("",) * len(eqn.outvars))
    alone = Jaxpr([], list(given), eqn.outvars, [eqn], eqn.effects, names)
    return jaxpr_as_fun(ClosedJaxpr(alone, ()))(*given.values())
