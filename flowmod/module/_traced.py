"""The linearisation of any module that only says what it computes for one sample."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Var
from jaxtyping import Array, Float

from .._tree import combine, floats, label_of
from ..linalg import Blocks, blocks_of
from ._factors import Costates, factor_of
from ._find import find_uses
from ._groups import Group, groups_of
from ._jaxpr import dtype_of, evaluate, flat_jaxpr, shape_of


class Trace(NamedTuple):
    """What a module computes for one sample, and what kind of rows its leaves have.

    Attributes:
        jaxpr: from the float leaves and a sample to the output.
        blocks: which leaves form a block.
        groups: for each block which leaves have their rows together.
    """

    jaxpr: ClosedJaxpr
    blocks: Blocks
    groups: list[list[Group]]


def trace(module: Any, sample: Any) -> Trace:
    """The trace of a module for a sample, or the shape and dtype of one."""
    like = floats(module)
    leaves, structure = jax.tree.flatten(like)

    def output(leaves, z):
        return combine(jax.tree.unflatten(structure, leaves), module)(z)

    closed = flat_jaxpr(output, leaves, sample)
    blocks = blocks_of(like)
    found = find_uses(closed.jaxpr, len(leaves))
    groups = groups_of(found, [leaf.size for leaf in leaves], _largest_activation(closed, len(leaves)), blocks)
    return Trace(closed, blocks, groups)


def linearise_traced(module: Any, inputs: Float[Array, "N ..."]) -> tuple[Float[Array, "N ..."], Callable]:
    """The outputs of a batch, and the map that pulls costates back through the module.

    At each use of a leaf whose rows have a known structure a zero is added to the results, and leaves with short rows
    are given to each sample apart: the derivative in these is what factors are made of.

    Raises:
        ValueError: if parameters or outputs are in half precision, for which there is no factorisation.
    """
    traced = trace(module, jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype))
    _require_precision(module, dtype_of(traced.jaxpr.jaxpr.outvars[0]))
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(floats(module))]
    groups = [group for block in traced.groups for group in block]
    uses = {use.place: use for group in groups for use in group.uses}
    apart = [leaf for group in groups if group.short for leaf in group.leaves]

    def one(changes, own, z):
        kept = {}

        def after(place, operands, results):
            if place not in uses:
                return results
            kept[place] = uses[place].inputs(operands)
            return [results[0] + uses[place].reached(operands, changes[place])]

        given = {**dict(enumerate(leaves)), **dict(zip(apart, own, strict=True))}
        [output] = evaluate(traced.jaxpr, [*(given[i] for i in range(len(leaves))), z], after)
        return output, kept

    n = inputs.shape[0]
    changes = {p: jnp.zeros((n, *use.shape), dtype_of(use.eqn.outvars[0])) for p, use in uses.items()}
    own = [jnp.broadcast_to(leaves[i], (n, *leaves[i].shape)) for i in apart]
    samples = [inputs] if jnp.issubdtype(inputs.dtype, jnp.floating) else []

    def outputs_of(changes, own, samples):
        return jax.vmap(one)(changes, own, samples[0] if samples else inputs)

    outputs, pull_one, kept = jax.vjp(outputs_of, changes, own, samples, has_aux=True)

    def pull(costates):
        costates = costates.astype(outputs.dtype)
        at_uses, rows, back = jax.vmap(pull_one, in_axes=1, out_axes=1)(costates)
        at = Costates(module, inputs, costates, at_uses, kept, dict(zip(apart, rows, strict=True)))
        factors = tuple(map(partial(factor_of, at), traced.blocks.leaves, traced.groups))
        # Whole numbers have no derivative.
        return factors, back[0] if back else jnp.zeros((*costates.shape[:2], *inputs.shape[1:]), costates.dtype)

    return outputs, pull


def _require_precision(module: Any, output: Any) -> None:
    """Raise a `ValueError` if a parameter, or the output of a module with parameters, is in half precision."""
    dtypes = {f"at '{label_of(path)}'": leaf.dtype for path, leaf in jax.tree.leaves_with_path(floats(module))}
    for where, dtype in (dtypes | {"in its output": output} if dtypes else {}).items():
        if dtype.itemsize < 4:
            raise ValueError(
                f"`module` must be in float32 or float64 for a metric, got {dtype} {where}: cast it with "
                "`.astype(jnp.float32)`."
            )


def _largest_activation(closed: ClosedJaxpr, leaves: int) -> int:
    """How many numbers the largest array has that depends on the sample."""
    activations = set(closed.jaxpr.invars[leaves:])
    for eqn in closed.jaxpr.eqns:
        if any(isinstance(atom, Var) and atom in activations for atom in eqn.invars):
            activations.update(eqn.outvars)
    return max(math.prod(shape_of(var)) for var in activations)
