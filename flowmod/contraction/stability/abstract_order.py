"""The order of magnitude that the literature gives for the stability of a Riemannian gradient flow."""

import dataclasses
import math
from typing import Any

from ._checks import check_number, check_sizes


@dataclasses.dataclass(frozen=True)
class OrderOfMagnitude:
    """A number known up to a constant factor that nobody knows: no bound, and nothing takes it for one.

    Attributes:
        value: the number.
    """

    value: float

    def __str__(self) -> str:
        return f"of the order of {self.value:.3g}, up to an unknown constant: an order of magnitude, not a bound"


def abstract_order(kappa: Any, smoothness: Any, xi: Any, mu: Any, n: int) -> OrderOfMagnitude:
    """`kappa^2 L / (xi mu sqrt n)`: how a generalisation gap scales. It is no bound: the constant is unknown.

    For a number that holds under stated assumptions use `fm.stability_bound(...)`, for the facts
    `fm.measure_stability(...)`.

    Args:
        kappa: Lipschitz constant of the network in its parameters.
        smoothness: `L`, Lipschitz constant of the loss.
        xi: bounds the condition number, as the smallest eigenvalue of `M^-1 H` where the largest is 1.
        mu: scale of the mass matrix, its smallest eigenvalue.
        n: samples.

    Returns:
        An `OrderOfMagnitude`, which says so when printed.

    Raises:
        ValueError: if a constant is not positive and finite, or `n` no whole number from 2.

    Reference: after the abstract of Pehle & Slotine, "Riemannian Optimization in Modular Systems", arXiv:2603.03610.
    """
    constants = {"kappa": kappa, "smoothness": smoothness, "xi": xi, "mu": mu}
    kappa, smoothness, xi, mu = (check_number(name, value, above=0.0) for name, value in constants.items())
    [n] = check_sizes("n", [n])
    return OrderOfMagnitude(kappa**2 * smoothness / (xi * mu * math.sqrt(n)))
