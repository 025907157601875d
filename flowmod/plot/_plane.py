"""A rectangle of states of two numbers: what a picture of a flow is drawn on."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from matplotlib.axes import Axes

from .._tree import dtype_of, floats, is_float_array, unraveler
from .._typing import State
from ..flow import Units, corners_of
from ..simulate import evaluate_along
from ._axes import with_unit
from ._labels import number_labels


@dataclasses.dataclass(frozen=True)
class Plane:
    """States between two corners, on axes that are linear or logarithmic.

    A *fraction* is a place on the axes, (0, 0) at the lower left and (1, 1) at the upper right. Distances and shapes
    are compared in fractions: they mean the same whatever the units of the two numbers and the scale are.

    Attributes:
        like: the lower corner, a tree like a state.
        low: its two numbers, (2,).
        high: those of the upper corner, (2,).
        labels: a name and a unit for each of the two numbers.
        scale: `"linear"` or `"log"`.
    """

    like: State
    low: np.ndarray
    high: np.ndarray
    labels: list[tuple[str, str | None]]
    scale: str

    def placed(self, fractions: np.ndarray) -> np.ndarray:
        """The numbers at fractions (..., 2) of the axes."""
        if self.scale == "log":
            return self.low * (self.high / self.low) ** fractions
        return self.low + (self.high - self.low) * fractions

    def fractions(self, numbers: np.ndarray) -> np.ndarray:
        """Where numbers (..., 2) lie on the axes; minus infinity for what a logarithmic axis can't show."""
        if self.scale == "linear":
            return (numbers - self.low) / (self.high - self.low)
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithms = np.where(numbers > 0, np.log(numbers / self.low), -np.inf)
        return logarithms / np.log(self.high / self.low)

    def stretch(self, numbers: np.ndarray) -> np.ndarray:
        """How far numbers (..., 2) move for a small move on the axes: d number / d fraction."""
        if self.scale == "log":
            return numbers * np.log(self.high / self.low)
        return np.broadcast_to(self.high - self.low, numbers.shape)

    def grid(self, fractions: np.ndarray) -> np.ndarray:
        """The numbers on a square grid with these fractions (n,) along both axes: (n, n, 2), rows upwards."""
        return self.placed(np.stack(np.meshgrid(fractions, fractions), axis=-1))

    def evaluate(self, fn: Callable, numbers: np.ndarray, t: Any, operands: Any) -> Any:
        """`fn(t, y, operands)` at the states with these numbers (..., 2): arrays with the same leading axes.

        Raises:
            ValueError: if `fn` can't be evaluated at a corner of the box.
        """
        dtype = dtype_of(self.like)
        flat = jnp.asarray(numbers.reshape(-1, 2), dtype=dtype)
        ys = jax.tree.map(np.asarray, jax.vmap(unraveler(self.like))(flat))
        everything = (fn, eqx.filter(self.like, is_float_array, inverse=True), operands)
        try:
            eqx.filter_eval_shape(fn, jnp.asarray(t, dtype), self.like, operands)
        except Exception as error:
            raise ValueError(
                f"`box` must be two trees like the state, (lower, upper), but the flow can't be evaluated at "
                f"{floats(self.like)}: {error}"
            ) from error
        out = evaluate_along(_at_state, np.full(len(flat), t, dtype), ys, everything)
        lead = numbers.shape[:-1]
        return jax.tree.map(lambda leaf: leaf.reshape(*lead, *leaf.shape[1:]).astype(np.float64), out)

    def frame(self, ax: Axes) -> None:
        """Scale, limits and labels of the axes."""
        ax.set(xscale=self.scale, yscale=self.scale, xlim=self._span(0), ylim=self._span(1))
        ax.set(xlabel=with_unit(*self.labels[0]), ylabel=with_unit(*self.labels[1]))

    def _span(self, axis: int) -> tuple[float, float]:
        return float(self.low[axis]), float(self.high[axis])


def plane_of(box: tuple[State, State], scale: str, units: Units) -> Plane:
    """A plane from the corners of a box.

    Raises:
        ValueError: if the corners are not two trees alike of two numbers each, in order, positive on log axes.
    """
    if scale not in ("linear", "log"):
        raise ValueError(f'`scale` must be "linear" or "log", got {scale!r}.')
    lower, _, low, high = corners_of(box)
    if low.size != 2:
        raise ValueError(
            f"`box` must have two numbers in each corner, got {low.size}: a picture has two axes. For a section "
            "through a larger state, wrap the flow in one of two numbers that keeps the others fixed."
        )
    if scale == "log" and not (low > 0).all():
        raise ValueError(f'`box` must be positive for `scale="log"`, got the lower corner {low}: raise it above zero.')
    return Plane(lower, low, high, number_labels(lower, units), scale)


def _at_state(t: Any, y: PyTree, operands: Any) -> Any:
    fn, rest, inner = operands
    return fn(t, eqx.combine(y, rest), inner)
