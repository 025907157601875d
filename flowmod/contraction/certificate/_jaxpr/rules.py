"""What the rules for primitives share: the table of them, what a value is, and how a function is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import lineax as lx
import numpy as np

from .arrays import Nodes

_NOT_OF_THE_USER = tuple(str(Path(file).parent) for file in (eqx.__file__, lx.__file__, Path(__file__).parents[2]))
_CURE = "Write this part with + - * /, powers, exp, log, tanh, sin, cos, max, `jnp.where` or small solves."


class UnsupportedPrimitive(ValueError):
    """A function uses an operation of JAX that can't be enclosed here.

    Attributes:
        primitive: its name.
        where: file, line and function of the user's code, if JAX tells, else an empty string.
    """

    def __init__(
        self, primitive: str, where: str, reason: str = "which has no interval arithmetic here", cure: str = _CURE
    ):
        self.primitive, self.where, self._told = primitive, where, (reason, cure)
        super().__init__(f"The function uses `{primitive}`{f' at {where}' if where else ''}, {reason}. {cure}")

    def at(self, where: str) -> "UnsupportedPrimitive":
        """The same error with another place."""
        return UnsupportedPrimitive(self.primitive, where, *self._told)


class Symbolic(NamedTuple):
    """An array that depends on the inputs: its nodes."""

    nodes: Nodes


Value = Symbolic | np.ndarray
"""An array of the traced function; one that is known is a NumPy array."""


def where_of(eqn) -> str:
    """Where in the user's code an equation comes from. JAX has no public name for it, so it may be missing."""
    try:
        from jax._src import source_info_util

        frames = list(source_info_util.user_frames(eqn.source_info.traceback))
        frame = next((frame for frame in frames if not frame.file_name.startswith(_NOT_OF_THE_USER)), frames[0])
        return f"{frame.file_name}:{frame.start_line} ({frame.function_name})"
    except Exception:
        return ""


RULES: dict[str, Callable] = {}
"""What to do with each primitive: `rule(translator, eqn, values)`, by its name."""


def rule_for(*names: str) -> Callable:
    def register(rule):
        RULES.update((name, rule) for name in names)
        return rule

    return register


def refused(eqn, reason: str, cure: str = _CURE) -> UnsupportedPrimitive:
    return UnsupportedPrimitive(eqn.primitive.name, where_of(eqn), reason, cure)


def dtype_of(eqn) -> np.dtype:
    """The dtype of an equation's first result."""
    return np.dtype(eqn.outvars[0].aval.dtype)


def require_double(eqn) -> None:
    dtype = dtype_of(eqn)
    if dtype.kind in "fcV" and dtype != np.float64:
        cure = "A proof is about float64 numbers: make the flow and its parameters in float64."
        raise refused(eqn, f"in {dtype}", cure)
