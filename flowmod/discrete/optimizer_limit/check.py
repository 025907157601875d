"""Whether an optimizer does what it was read as: its updates on probing gradients, beside a naive loop.

The names and the variables of optax's closures are no promise. A version that uses them in another way fails here, by
the name of the element, before there is a flow.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..._tree import floats
from ..._typing import State
from .groups import Routes
from .nodes import Element, place
from .parts import Average, Normalise, Part

_UPDATES = 3
_SMALLEST = 1e-6
_SLACK = 1e3
"""Times the rounding of one operation: both sides take some tens of them."""

_CANCELLATION = 4
"""Times the rounding of one operation over `1 - beta`, which is what is left of two numbers near one."""

_WORST = 0.05
"""Up to which error an optimizer of low precision is believed: another gain or another average makes more."""


def check_part(element: Element, made: optax.GradientTransformation) -> None:
    """Raise a `ValueError` unless the element of a chain answers as its part does."""
    small = _small(element.part)
    scale = np.array([1.3, -0.7, small, -3 * small])
    gradients = [scale * np.cos(n + np.arange(4)) for n in range(_UPDATES)]
    params = [np.sin(1.0 + n + np.arange(4)) for n in range(_UPDATES)]
    expected = [[answer] for answer in element.part.steps(gradients, params)]
    _require(_answers(made.update, made, gradients, params), expected, [element], str(element))


def check_whole(optimizer: optax.GradientTransformation, routes: Routes, like: State) -> None:
    """Raise a `ValueError` unless the optimizer treats every leaf of a state as its route says."""
    leaves, structure = jax.tree.flatten(floats(like))
    places = [i + 0.3 * np.arange(leaf.size).reshape(leaf.shape) for i, leaf in enumerate(leaves)]

    def waves(wave: Any) -> list[list[np.ndarray]]:
        """By update and leaf, in the leaf's dtype, which masks may look at."""
        pairs = list(zip(places, leaves, strict=True))
        return [[np.asarray(wave(n + x), leaf.dtype) for x, leaf in pairs] for n in range(_UPDATES)]

    gradients, params = waves(np.cos), waves(np.sin)
    by_leaf = []
    for i, route in enumerate(routes.routes):
        answers, own = ([step[i].astype(float) for step in steps] for steps in (gradients, params))
        for element in route:
            answers = element.part.steps(answers, own)
        by_leaf.append(answers)
    trees = ([jax.tree.unflatten(structure, step) for step in steps] for steps in (gradients, params))
    try:
        found = _answers(jax.jit(optimizer.update), optimizer, *trees)
    except jax.errors.ConcretizationTypeError as error:
        raise ValueError(
            "`optimizer` has a mask or labels that look at values, and optax shows them parameters first and gradients "
            "later: look at paths, shapes or dtypes, or give the mask as a tree."
        ) from error
    elements = [element for route in routes.routes for element in route]
    name = f"the {len(leaves)} leaves of `like` under {place(())}"
    _require(found, list(zip(*by_leaf, strict=True)), elements, name, [leaf.dtype for leaf in leaves])


def _small(part: Part) -> float:
    """A gradient so small that an eps shows."""
    return max(part.eps, part.eps_root**0.5, _SMALLEST) if isinstance(part, Normalise) else _SMALLEST


def _memory(part: Part) -> float:
    """How many updates the longest average of a part is over."""
    match part:
        case Average(beta=beta):
            return 1 / (1 - beta)
        case Normalise(first=first, second=second):
            return 1 / (1 - max(first, second))
    return 1.0


def _answers(update: Any, made: optax.GradientTransformation, gradients: list, params: list) -> list[list[np.ndarray]]:
    """The updates that an optimizer makes, as leaves."""
    found = []
    # optax multiplies Python numbers, integers and floats of any width, which a caller's strict rules would forbid.
    with jax.ensure_compile_time_eval(), jax.numpy_dtype_promotion("standard"):
        state = made.init(jax.tree.map(jnp.asarray, params[0]))
        for gradient, y in zip(gradients, params, strict=True):
            answer, state = update(jax.tree.map(jnp.asarray, gradient), state, jax.tree.map(jnp.asarray, y))
            found.append([np.asarray(leaf) for leaf in jax.tree.leaves(answer)])
    return found


def _require(found: list, expected: list, elements: list[Element], name: str, dtypes: Sequence = ()) -> None:
    precisions = (jnp.result_type(float), *dtypes, *(element.precision for element in elements))
    memory = max((_memory(element.part) for element in elements), default=1.0)
    eps = max(float(jnp.finfo(precision).eps) for precision in precisions)
    rounding = min((_SLACK + _CANCELLATION * memory) * eps, _WORST)
    for n, (answers, wanted) in enumerate(zip(found, expected, strict=True)):
        for a, w in zip(answers, wanted, strict=True):
            if not np.isfinite(w).all():
                raise ValueError(f"{name} makes of finite gradients {w} in update {n}: look at its schedules.")
            if not np.allclose(a, w, rtol=rounding, atol=rounding * float(np.abs(w).max(initial=0))):
                raise ValueError(
                    f"{name} does not do what its name and its numbers say: got the updates {a}, expected {w}. Is "
                    f"optax {optax.__version__} a version in which it has changed? flowmod knows that of 0.2.8."
                )
