"""Which way to solve a block is the cheapest: a model of the time, from shapes and measured speeds."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .blocks import Part
from .rows import AbstractRows, ArrangedRows, JoinedRows, KhatriRaoRows, PositionRows, RepeatedRows


class _Speeds(NamedTuple):
    """Measured on two cores with AVX-512, in operations a millisecond, but for the last four.

    Attributes:
        product: of matrices of a hundred to some hundred rows.
        stream: of a sum over costates, which waits for memory.
        cholesky: LAPACK's, on one core.
        entry: milliseconds for an entry of a matrix that is made, factored and solved with.
        square, cube: milliseconds of an eigenvalue decomposition for `n^2` and `n^3`.
        steps: of preconditioned conjugate gradients to the default tolerance.
    """

    product: float
    stream: float
    cholesky: float
    entry: float
    square: float
    cube: float
    steps: int


_SINGLE = _Speeds(5e7, 1.2e7, 3e7, 5e-6, 5e-5, 2e-8, 15)
_DOUBLE = _Speeds(2.5e7, 6e6, 1.2e7, 1e-5, 7e-5, 8e-8, 30)

_UNAIDED = 3
"""How many times as many steps it takes without a preconditioner."""

_STEP = 0.05
"""Milliseconds that a step takes whatever the shapes are."""


def cheapest(rows: AbstractRows, mass: Part) -> str:
    """The fastest way to solve with `D + K^T K`, by a model of the time.

    A choice by shapes and precision alone, so that a program is compiled once: a mass so small that conjugate gradients
    take many more steps than usual is not seen.

    Returns:
        `"rows"` or `"parameters"`, the side of a Cholesky factorisation, or `"conjugate_gradients"`.
    """
    times = milliseconds(rows, mass)
    return min(times, key=lambda way: times[way])


def milliseconds(rows: AbstractRows, mass: Part) -> dict[str, float]:
    """The modelled time of each way to solve with `D + K^T K`, the products of its factor included."""
    speeds = _DOUBLE if jnp.result_type(*mass).itemsize >= 8 else _SINGLE
    layers, one = _one(rows)
    r, p = one.count, one.columns
    gram, normal = _gram(one, mass, speeds), _normal(one, speeds)
    return {
        "rows": layers * (gram + _factorisation(r, speeds)) + 2 * layers * _product(one, speeds),
        "parameters": layers * (normal + _factorisation(p, speeds)),
        "conjugate_gradients": layers * _iteration(one, speeds),
    }


def _one(rows: AbstractRows) -> tuple[int, AbstractRows]:
    """How many equal layers a factor has, and one of them."""
    while isinstance(rows, ArrangedRows):
        rows = rows.rows
    if not isinstance(rows, RepeatedRows):
        return 1, rows
    return rows.depth, jax.eval_shape(lambda each: jax.tree.map(lambda leaf: leaf[0], each), rows.each)


def _parts(rows: AbstractRows) -> list[tuple[int, AbstractRows]]:
    layers, one = _one(rows)
    return (
        [part for factor in one.factors for part in _parts(factor)] if isinstance(one, JoinedRows) else [(layers, one)]
    )


def _factorisation(n: int, speeds: _Speeds) -> float:
    return n**3 / 3 / speeds.cholesky + n**2 * speeds.entry


def _product(rows: AbstractRows, speeds: _Speeds) -> float:
    """`K^T K v`."""
    time = 0.0
    for layers, one in _parts(rows):
        if isinstance(one, KhatriRaoRows | PositionRows):
            o = one.costates.shape[-1]
            time += layers * 4 * (one.inputs.size * o / speeds.product + one.costates.size / speeds.stream)
        else:
            time += layers * 4 * one.count * one.columns / speeds.product
    return time


def _iteration(rows: AbstractRows, speeds: _Speeds) -> float:
    """All of conjugate gradients, with what the preconditioner takes."""
    prepared, applied, aided = 0.0, 0.0, True
    for layers, one in _parts(rows):
        if not isinstance(one, KhatriRaoRows | PositionRows):
            aided = False
            continue
        o, d = one.costates.shape[-1], one.inputs.shape[-1]
        moments = 2 * (one.inputs.size * d + one.costates.size * o) / speeds.product
        prepared += layers * (moments + sum(n**2 * speeds.square + n**3 * speeds.cube for n in (o, d)))
        applied += layers * 4 * o * d * (o + d) / speeds.product
    product = _product(rows, speeds) + _STEP
    unaided = _UNAIDED * speeds.steps * product
    return min(unaided, prepared + speeds.steps * (product + applied)) if aided else unaided


def _gram(rows: AbstractRows, mass: Part, speeds: _Speeds) -> float:
    """`K D^-1 K^T`."""
    r, time = rows.count, 0.0
    for layers, one in _parts(rows):
        if isinstance(one, KhatriRaoRows):
            o, d = one.costates.shape[-1], one.inputs.shape[-1]
            # A mass by element takes a product for each output.
            by_element = not isinstance(rows, JoinedRows) and jnp.ndim(mass[0]) == 2 and 1 not in mass[0].shape
            time += layers * 2 * (r**2 * o + one.inputs.shape[0] ** 2 * d * (o if by_element else 1)) / speeds.product
            time += layers * 2 * r**2 * o / speeds.stream if by_element else 0
        else:
            time += layers * 2 * r**2 * one.columns / speeds.product
    return time


def _normal(rows: AbstractRows, speeds: _Speeds) -> float:
    """`K^T K`."""
    p = rows.columns
    if isinstance(rows, KhatriRaoRows):
        o = rows.costates.shape[-1]
        return (rows.inputs.shape[0] * p**2 / 2 + 2 * rows.costates.size * o) / speeds.product + p**2 * speeds.entry
    return 2 * rows.count * p**2 / speeds.product
