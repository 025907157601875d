"""The types that the whole package speaks."""

from collections.abc import Callable
from typing import Any, TypeAlias

from jaxtyping import Array, ArrayLike, Float, PyTree

State: TypeAlias = PyTree
"""A pytree of float arrays; leaves of other kinds are carried along untouched."""

Vector: TypeAlias = PyTree
"""An element of the tangent space: a tree like the state's float leaves, `None` elsewhere."""

Covector: TypeAlias = PyTree
"""An element of the cotangent space, stored like a `Vector`: a gradient is one."""

Args: TypeAlias = Any
Scalar: TypeAlias = Float[ArrayLike, ""]
Potential: TypeAlias = Callable[[State, Args], Float[Array, ""]]
Field: TypeAlias = Callable[[Any, State, Args], Vector]
