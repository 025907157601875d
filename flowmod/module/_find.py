"""Where the parameters of a module enter its trace, followed through operations that only rearrange numbers."""

import math
from collections import Counter
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, Var

from ..linalg import Step
from ._jaxpr import dtype_of, shape_of
from ._uses import USES, AbstractUse

_REARRANGING = ("transpose", "reshape", "squeeze", "expand_dims", "broadcast_in_dim", "convert_element_type", "copy")


class Found(NamedTuple):
    """What is known of the leaves of a module; each list by leaf.

    Attributes:
        uses: operations with a known structure.
        biases: the uses to whose results alone the leaf is added, one number to each output.
        others: the names of all other operations that take the leaf.
    """

    uses: list[list[AbstractUse]]
    biases: list[list[AbstractUse]]
    others: list[list[str]]


class _View(NamedTuple):
    """A rearranged leaf, or the rearranged results of a use.

    `numbers` says which number of the leaf, or which output of the use, stands where; `steps` leads from the leaf to
    the view, `None` where numbers are repeated.
    """

    source: int | AbstractUse
    numbers: np.ndarray
    steps: tuple[Step, ...] | None


def find_uses(jaxpr: Jaxpr, leaves: int) -> Found:
    """Every operation that takes one of the first `leaves` inputs of a flat trace, or a rearrangement of it."""
    found = Found(*([[] for _ in range(leaves)] for _ in Found._fields))
    takers = Counter(v for taken in (*(eqn.invars for eqn in jaxpr.eqns), jaxpr.outvars) for v in taken if _is_var(v))
    views = {var: _View(leaf, places_of(shape_of(var)), ()) for leaf, var in enumerate(jaxpr.invars[:leaves])}
    for place, eqn in enumerate(jaxpr.eqns):
        seen = {k: views[var] for k, var in enumerate(eqn.invars) if _is_var(var) and var in views}
        if not seen:
            continue
        if _rearranges(eqn):
            # Results that something else takes too have other costates than what becomes of them here.
            if isinstance(seen[0].source, int) or takers[eqn.invars[0]] == 1:
                views[eqn.outvars[0]] = _rearranged(seen[0], eqn)
        elif (use := _use(place, eqn, seen)) is not None:
            found.uses[use.leaf].append(use)
            views[eqn.outvars[0]] = _View(use, _outputs(use), None)
        elif (bias := _bias(eqn, seen, takers)) is not None:
            found.biases[bias[0]].append(bias[1])
        else:
            _note(found, seen.values(), eqn.primitive.name)
    _note(found, [views[var] for var in jaxpr.outvars if _is_var(var) and var in views], "the output")
    return found


def places_of(shape: tuple[int, ...]) -> np.ndarray:
    """The numbers of an array's entries, in their places."""
    return np.arange(math.prod(shape)).reshape(shape)


def _is_var(atom) -> bool:
    return isinstance(atom, Var)


def _note(found: Found, views, name: str) -> None:
    for view in views:
        if isinstance(view.source, int):
            found.others[view.source].append(name)


def _rearranges(eqn: JaxprEqn) -> bool:
    is_float = jnp.issubdtype(dtype_of(eqn.outvars[0]), jnp.floating)
    return eqn.primitive.name in _REARRANGING and len(eqn.invars) == 1 and is_float


def _rearranged(view: _View, eqn: JaxprEqn) -> _View:
    numbers, steps, shape = view.numbers, view.steps, shape_of(eqn.outvars[0])
    step: Step = ("reshape", shape)
    if eqn.primitive.name == "transpose":
        step = ("transpose", tuple(eqn.params["permutation"]))
        numbers = numbers.transpose(step[1])
    elif math.prod(shape) == numbers.size:
        numbers = numbers.reshape(shape)
    else:
        spread = [1] * len(shape)
        for axis, into in enumerate(eqn.params["broadcast_dimensions"]):
            spread[into] = numbers.shape[axis]
        numbers, steps = np.broadcast_to(numbers.reshape(spread), shape), None
    return _View(view.source, numbers, None if steps is None else (*steps, step))


def _use(place: int, eqn: JaxprEqn, seen: dict[int, _View]) -> AbstractUse | None:
    """The use that an operation is of the one leaf that it takes."""
    leaves = [(k, view) for k, view in seen.items() if isinstance(view.source, int)]
    if eqn.primitive.name not in USES or len(leaves) != 1 or leaves[0][1].steps is None:
        return None
    operand, view = leaves[0]
    return USES[eqn.primitive.name].match(place, eqn, operand, view.source, view.steps)


def _outputs(use: AbstractUse) -> np.ndarray:
    """For each number of the results of a use which output it is of."""
    entries = use.by_position(places_of(use.shape))
    outputs = np.empty(math.prod(use.shape), dtype=int)
    outputs[entries] = np.broadcast_to(np.arange(entries.shape[1]), entries.shape)
    return outputs.reshape(use.shape)


def _bias(eqn: JaxprEqn, seen: dict[int, _View], takers: Counter) -> tuple[int, AbstractUse] | None:
    """The leaf that an addition adds to the results of a use, number by output, and the use."""
    if eqn.primitive.name not in ("add", "add_any") or len(seen) != 2:
        return None
    for to, by in ((0, 1), (1, 0)):
        use, leaf = seen[to].source, seen[by].source
        if not isinstance(use, AbstractUse) or not isinstance(leaf, int) or takers[eqn.invars[to]] != 1:
            continue
        outputs, numbers = seen[to].numbers, seen[by].numbers
        if outputs.size == math.prod(use.shape) == math.prod(shape_of(eqn.outvars[0])):
            if np.array_equal(outputs, np.broadcast_to(numbers, outputs.shape)):
                return leaf, use
    return None
