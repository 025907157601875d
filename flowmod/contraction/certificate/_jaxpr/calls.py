"""Primitives that hold functions: calls, loops and branches. Calls are opened, loops unrolled, branches both taken."""

import jax
import numpy as np

from . import arrays
from .arithmetic import choose
from .rules import Symbolic, UnsupportedPrimitive, Value, refused, rule_for

_BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")


@rule_for("jit", "pjit", "closed_call", "remat", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call")
def _call(translator, eqn, values):
    body = next(eqn.params[name] for name in _BODIES if name in eqn.params)
    return translator.run(body, (), values)


@rule_for("linear_solve", "vprim")
def _equinox(translator, eqn, values):
    # Primitives of lineax and Equinox are JAX functions that know how to be differentiated.
    avals = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in eqn.invars]
    body = jax.make_jaxpr(lambda *operands: eqn.primitive.impl(*operands, **eqn.params))(*avals)
    return translator.run(body, (), values)


@rule_for("custom_linear_solve")
def _custom_linear_solve(translator, eqn, values):
    lengths, jaxprs = eqn.params["const_lengths"], eqn.params["jaxprs"]
    first = lengths.matvec + lengths.vecmat
    consts = values[first : first + lengths.solve]
    right = values[first + lengths.solve + lengths.transpose_solve :]
    return translator.run(jaxprs.solve, (), [*consts, *right])


@rule_for("platform_index")
def _platform_index(translator, eqn, values):
    # Branches for accelerators are other ways to the same numbers; the one without a name is for all the rest.
    platforms = eqn.params["platforms"]
    return [np.asarray(platforms.index(None) if None in platforms else 0, np.int32)]


@rule_for("cond")
def _cond(translator, eqn, values):
    index, *operands = values
    known, branches = translator.known(index), eqn.params["branches"]
    if known is not None:
        return translator.run(branches[min(max(int(known), 0), len(branches) - 1)], (), operands)
    results = [_branch(translator, branch, operands) for branch in branches]
    outcomes = []
    for cases in zip(*results, strict=True):
        nodes = [translator.nodes(case) for case in cases]
        which = np.broadcast_to(index.nodes, nodes[0].shape)
        outcomes.append(Symbolic(arrays.entrywise(lambda *entry: choose(translator.builder, *entry), which, *nodes)))
    return outcomes


def _branch(translator, branch, operands) -> list[Value]:
    try:
        return translator.run(branch, (), operands)
    except UnsupportedPrimitive as error:
        if error.primitive != "pure_callback":
            raise
        # A branch that calls Python is `eqx.error_if`, by which lineax too says that there is no solution: undefined.
        nan = translator.builder.constant(np.nan)
        return [Symbolic(np.full(aval.shape, nan)) for aval in branch.out_avals]


@rule_for("scan")
def _scan(translator, eqn, values):
    consts, carried = eqn.params["num_consts"], eqn.params["num_carry"]
    fixed, carry, sequences = values[:consts], values[consts : consts + carried], values[consts + carried :]
    turns = range(eqn.params["length"])
    rows: list[list[Value]] = []
    for i in reversed(turns) if eqn.params["reverse"] else turns:
        results = translator.run(eqn.params["jaxpr"], (), [*fixed, *carry, *(_row(xs, i) for xs in sequences)])
        carry, row = results[:carried], results[carried:]
        rows.append(row)
    if eqn.params["reverse"]:
        rows.reverse()
    if not rows:
        return [*carry, *(np.zeros(var.aval.shape, var.aval.dtype) for var in eqn.outvars[carried:])]
    return [*carry, *(_stacked(translator, parts) for parts in zip(*rows, strict=True))]


@rule_for("while")
def _while(translator, eqn, values):
    asked, done = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    for_cond, for_body, carry = values[:asked], values[asked : asked + done], values[asked + done :]
    while True:
        [goes_on] = translator.run(eqn.params["cond_jaxpr"], (), [*for_cond, *carry])
        known = translator.known(goes_on)
        if known is None:
            raise refused(eqn, "whose number of turns depends on the state")
        if not known:
            return carry
        carry = translator.run(eqn.params["body_jaxpr"], (), [*for_body, *carry])


def _row(value: Value, i: int) -> Value:
    return Symbolic(value.nodes[i]) if isinstance(value, Symbolic) else value[i]


def _stacked(translator, parts) -> Value:
    if any(isinstance(part, Symbolic) for part in parts):
        return Symbolic(np.stack([translator.nodes(part) for part in parts]))
    return np.stack(parts)
