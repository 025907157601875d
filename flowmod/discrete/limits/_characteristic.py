"""What a step of a method does to `x' = lambda x`: the polynomial whose roots `zeta` are the factors of growth."""

import functools

import diffrax
import numpy as np

Characteristic = tuple[np.ndarray, ...]
"""The coefficients of `zeta^0, zeta^1, ...`, each a polynomial in `z = h lambda`, from its lowest power up."""

_ONE, _Z = np.array([1.0, 0.0]), np.array([0.0, 1.0])

_TABLEAUS = {
    "heun": diffrax.Heun,
    "midpoint": diffrax.Midpoint,
    "ralston": diffrax.Ralston,
    "bosh3": diffrax.Bosh3,
    "dopri5": diffrax.Dopri5,
    "tsit5": diffrax.Tsit5,
    "dopri8": diffrax.Dopri8,
}

# At a critical point a geodesic, a retraction and Euler's step in dual coordinates have Euler's linearisation, and a
# minimising movement has implicit Euler's.
_EULER = (-_ONE - _Z, _ONE)
_IMPLICIT = (-_ONE, _ONE - _Z)
_GIVEN = {
    "euler": _EULER,
    "geodesic": _EULER,
    "retraction": _EULER,
    "mirror": _EULER,
    "implicit_euler": _IMPLICIT,
    "minimizing_movement": _IMPLICIT,
    "rk4": (-1 / np.array([1.0, 1.0, 2.0, 6.0, 24.0]), _ONE),
}

_MOMENTUM = {
    "heavy_ball": lambda beta: (beta * _ONE, -(1 + beta) * _ONE - _Z, _ONE),
    "ema": lambda beta: (beta * _ONE, -(1 + beta) * _ONE - (1 - beta) * _Z, _ONE),
    "nesterov": lambda beta: (beta * (_ONE + _Z), -(1 + beta) * (_ONE + _Z), _ONE),
}

MOMENTUM_METHODS = tuple(_MOMENTUM)
METHODS = (*_GIVEN, *_TABLEAUS, *_MOMENTUM)


def characteristic(method: str, momentum: float | None) -> Characteristic:
    """The polynomial of a method: `zeta - R(z)` for a Runge-Kutta method, of second degree in `zeta` with momentum."""
    if method in _MOMENTUM:
        return _MOMENTUM[method](momentum)
    return _GIVEN[method] if method in _GIVEN else _of_tableau(method)


@functools.cache
def _of_tableau(method: str) -> Characteristic:
    """`R(z) = 1 + sum_k z^(k+1) b^T A^k 1` of diffrax's tableau."""
    tableau = _TABLEAUS[method].tableau
    matrix = np.zeros((tableau.num_stages, tableau.num_stages))
    for row, entries in enumerate(tableau.a_lower, start=1):
        matrix[row, :row] = entries
    stages, powers = np.ones(len(matrix)), [1.0]
    for _ in matrix:
        powers.append(tableau.b_sol @ stages)
        stages = matrix @ stages
    return -np.array(powers), _ONE
