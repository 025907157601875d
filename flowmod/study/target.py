"""A flow with what is known of it: where to start, for how long, where to look."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from .._typing import State
from ..flow import AbstractFlow, Equilibria, InertialFlow, equilibria
from . import literals
from .models import Box


@dataclasses.dataclass(frozen=True)
class Target:
    """A flow, with the defaults that are known for it.

    An `InertialFlow` is asked for positions only: it starts at rest, and rests at its equilibria.

    Attributes:
        name: what the user called it.
        flow: the flow.
        start: a default start, or `None`.
        t1: a default end time, or `None`.
        box: a box of its positions, or `None`.
        scale: of the axes of a drawing.
    """

    name: str
    flow: AbstractFlow
    start: State | None = None
    t1: float | None = None
    box: Box | None = None
    scale: str = "linear"

    @property
    def _inertial(self) -> bool:
        return isinstance(self.flow, InertialFlow)

    def start_from(self, texts: Sequence[str]) -> State:
        """The start that `--y0` describes, else the default one.

        Raises:
            ValueError: if there is neither, or it is not like the default one.
        """
        start = literals.state("--y0", texts, self.start) if texts else self.start
        if start is None:
            raise ValueError(f"`--y0` must be given for {self.name}: --y0 u=1.0 --y0 v=2.0, or --y0 '[1.0, 2.0]'.")
        moving = self._inertial and isinstance(start, tuple)
        if self.start is not None and _shapes(start[0] if moving else start) != _shapes(self.start):
            raise ValueError(f"`--y0` must be a state like {self.start}, got {' '.join(texts)}.")
        start = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=float), start)
        return (start, jax.tree.map(jnp.zeros_like, start)) if self._inertial and not moving else start

    def end_time(self, t1: float | None) -> float:
        """The end time asked for, else the default one."""
        t1 = self.t1 if t1 is None else t1
        if t1 is None:
            raise ValueError(f"`--t1` must be given for {self.name}: the time at which the run ends.")
        return t1

    def box_from(self, texts: Sequence[str]) -> Box:
        """The box of positions that `--box` describes, else the default one."""
        box = literals.box("--box", texts, self.box) if texts else self.box
        if box is None:
            raise ValueError(f"`--box` must be given for {self.name}: --box u=0:10 --box v=0:5, where to look.")
        if self.box is not None and list(map(_shapes, box)) != list(map(_shapes, self.box)):
            raise ValueError(f"`--box` must be like {self.box}, got {' '.join(texts)}.")
        return box

    def equilibria(self, box: Box) -> Equilibria:
        """The equilibria found in a box of positions, as positions."""
        if self._inertial:
            # The velocity of an equilibrium is zero: any box around zero will do.
            lower, upper = (
                (corner, jax.tree.map(lambda _, side=side: side, corner))
                for corner, side in zip(box, (-1.0, 1.0), strict=True)
            )
            box = lower, upper
        found = equilibria(self.flow, box)
        points = (dataclasses.replace(point, state=self.flow.position(point.state)) for point in found)
        return dataclasses.replace(found, points=tuple(points))


def _shapes(tree: State) -> tuple:
    return jax.tree.structure(tree), [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]
