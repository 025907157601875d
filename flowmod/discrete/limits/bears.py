"""What a method bears: how large step times curvature may be."""

from typing import Any

import numpy as np

from ..._tree import is_traced
from ._characteristic import METHODS, MOMENTUM_METHODS, characteristic
from ._stable_radius import stable_radius


def bears(method: str, momentum: float | None = None) -> float:
    """The largest `q = h lambda` of a method, for an eigenvalue `lambda` of `M^-1 H`: stable for all `0 < q < bears`.

    Worked out from the polynomial whose roots are the factors by which a step multiplies a perturbation, the one that
    `step_limit` uses for complex eigenvalues; with momentum by the closed forms below. Where roots lie on the unit
    circle at the limit itself, a perturbation neither grows nor decays there.

    Args:
        method: `"euler"`, and what is Euler's method at a critical point: `"geodesic"`, `"retraction"`, `"mirror"` (2);
            `"implicit_euler"` and `"minimizing_movement"` (infinite); `"heun"`, `"midpoint"`, `"ralston"` (2),
            `"bosh3"`, `"rk4"`, `"dopri5"`, `"tsit5"`, `"dopri8"`, by diffrax's tableaus; with momentum
            `"heavy_ball"`, `y+ = y - h M^-1 grad f + momentum (y - y-)`: `2 (1 + momentum)`; `"nesterov"`, the same
            with the gradient at `y + momentum (y - y-)`: `2 (1 + momentum) / (1 + 2 momentum)`; `"ema"`, which steps
            along the mean `m+ = momentum m + (1 - momentum) M^-1 grad f`: `2 (1 + momentum) / (1 - momentum)`.
        momentum: a number in [0, 1), for the three methods with momentum only.

    Returns:
        The number `q`, without unit. Implicit Euler is stable for `q < -2` too: a large step damps the directions of
        a saddle in which the flow itself grows.

    Raises:
        ValueError: if `method` or `momentum` is another.

    Reference: E. Hairer and G. Wanner, "Solving Ordinary Differential Equations II" (1996), ch. IV.2; B. T. Polyak,
    "Some methods of speeding up the convergence of iteration methods" (1964).
    """
    require_method(method, momentum)
    if method in MOMENTUM_METHODS:
        return _WITH_MOMENTUM[method](float(momentum))  # pyright: ignore[reportArgumentType]
    return stable_radius(characteristic(method, momentum), -1)


# In closed form, because the polynomial's coefficients cancel where the momentum is one up to rounding.
_WITH_MOMENTUM = {
    "heavy_ball": lambda beta: 2 * (1 + beta),
    "nesterov": lambda beta: 2 * (1 + beta) / (1 + 2 * beta),
    "ema": lambda beta: 2 * (1 + beta) / (1 - beta),
}


def require_method(method: Any, momentum: Any) -> None:
    """Raise a `ValueError` unless a method is known and has the momentum that it needs."""
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {_listed(METHODS)}, got {method!r}.")
    if method not in MOMENTUM_METHODS:
        if momentum is not None:
            raise ValueError(f'`momentum` is for {_listed(MOMENTUM_METHODS)}, got {momentum!r} with "{method}".')
    elif momentum is None:
        raise ValueError(f'`method="{method}"` needs its `momentum=`, a number in [0, 1).')
    elif not _is_fraction(momentum):
        raise ValueError(f"`momentum` must be a number in [0, 1), got {momentum!r}.")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _is_fraction(number: Any) -> bool:
    try:
        return bool(not is_traced(number) and np.ndim(number) == 0 and 0 <= number < 1)
    except TypeError:
        return False
