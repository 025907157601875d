"""From the elements on a leaf's way to the operations that are left of them in the limit."""

import dataclasses
import math

from . import operations, parts
from .clock import Clock, number
from .groups import Route, Routes
from .lines import Line
from .nodes import Element
from .rate import ONE, Rate


def require_descent(routes: Routes) -> None:
    """Raise a `ValueError` if the updates of a leaf have the sign of its gradient."""
    for route, label in zip(routes.routes, routes.labels, strict=True):
        if _sign(route) > 0:
            way = ", ".join(map(str, route)) or "nothing: `optax.masked` passes on what it does not mask"
            raise ValueError(
                f"`optimizer` climbs the potential{label}: the gradient keeps its sign on its way through {way}. "
                "Add `optax.scale(-1.0)`, or give leaves that should not move `optax.set_to_zero()`."
            )


def reference_rate(routes: Routes, memory: bool) -> Rate:
    """The learning rate of the first leaf that moves, positive.

    Raises:
        ValueError: if none moves.
    """
    for route in routes.routes:
        if _sign(route):
            rate = _learning_rate(route, memory)
            return Rate(rate.number * rate.sign, rate.powers)
    raise ValueError(
        "`optimizer` has no learning rate, or one that is zero, so that nothing moves and no time goes by: give it one "
        "such as `optax.sgd(0.1)`."
    )


def _sign(route: Route) -> int:
    return math.prod(element.part.rate.sign for element in route if isinstance(element.part, parts.Scale))


def _learning_rate(route: Route, memory: bool) -> Rate:
    """What a direction is multiplied by after the last normalisation.

    With `memory` that includes the gain of a heavy ball, whose speed would otherwise be infinite in the limit.
    """
    factor = ONE
    for element in route:
        match element.part:
            case parts.Scale(rate):
                factor = factor * rate
            case parts.Average(gain=gain) if memory:
                factor = factor * Rate(gain)
            case parts.Normalise():
                factor = ONE
    return factor


def line_of(route: Route, clock: Clock, memory: bool) -> Line:
    """The limit of a route: each element's answer to a gradient that stands still or, with `memory`, its averages.

    Raises:
        ValueError: if a number changes with time and the clock does not know how many updates there are.
    """
    way = _Way(clock, memory)
    for element in route:
        way.add(element)
    return way.line(str(route[-1]) if route else "an optimizer without elements")


@dataclasses.dataclass
class _Way:
    """A line in the making. `factor` is what the signal is still to be multiplied by: one number instead of many."""

    clock: Clock
    memory: bool
    factor: Rate = ONE
    decay: float = 0.0
    found: list[operations.Operation] = dataclasses.field(default_factory=list)
    driven: bool = True
    still: bool = False

    def add(self, element: Element) -> None:
        match element.part:
            case parts.Scale(Rate(number=0)):
                self.found, self.decay, self.factor = [operations.Multiply(number(0.0))], 0.0, ONE
                self.driven, self.still = False, True
            case parts.Scale(rate):
                self.factor = self.factor * rate
            case parts.Decay(rate):
                self._decay(rate / self.factor, element)
            case _ if self.still:
                return  # nothing comes of nothing
            case parts.Average(beta=beta, gain=gain, debias=debias):
                average = self._average(beta, debias, element)
                if average is not None:
                    if not self.factor.is_constant:
                        self._apply_factor(element)
                    self.found.append(average)
                self.factor = self.factor * Rate(gain)
            case parts.Normalise() as part:
                self._apply_factor(element)
                first, second = (self._average(beta, part.debias, element) for beta in (part.first, part.second))
                eps, eps_root, initial = map(number, (part.eps, part.eps_root, part.initial))
                self.found.append(operations.Normalise(eps, eps_root, initial, first, second))

    def line(self, last: str) -> Line:
        rate = self.factor / self.clock.rate
        by = self.clock.coefficient(rate, f"the learning rate of {last}, relative to the clock,")
        return Line(number(self.decay), (*self.found, operations.Multiply(by)), self.driven)

    def _decay(self, share: Rate, element: Element) -> None:
        if share.number == 0:
            return
        if share.is_constant and not self.found:
            self.decay += share.number
        else:
            self.found.append(operations.Add(self.clock.coefficient(share, f"the weight decay of {element}")))
            self.still = False

    def _average(self, beta: float, debias: bool, element: Element) -> operations.Average | None:
        if not self.memory or beta == 0:
            return None
        speed = self.clock.coefficient(Rate(1 - beta) / self.clock.rate, f"the memory of {element}")
        return operations.Average(speed, self.clock.elapsed(1 - beta) if debias else None)

    def _apply_factor(self, element: Element) -> None:
        if self.factor != ONE:
            by = self.clock.coefficient(self.factor, f"the factor before {element}")
            self.found.append(operations.Multiply(by))
        self.factor = ONE
