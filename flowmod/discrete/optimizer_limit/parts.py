"""What a chain is made of: each kind of element that has a limit, and what it does to gradients, said naively.

`steps` is a loop in NumPy, written from the definition of the method. `check.py` compares it with what the optimizer's
own element answers.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from .rate import Rate

Arrays = Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Scale:
    """`u -> rate u`: a learning rate, with its sign, or a leaf that is frozen."""

    rate: Rate

    def steps(self, gradients: Arrays, params: Arrays) -> list[np.ndarray]:
        rates = self.rate.at(np.arange(len(gradients)))
        return [rate * g for rate, g in zip(rates, gradients, strict=True)]


@dataclasses.dataclass(frozen=True)
class Decay:
    """`u -> u + rate y`: weight decay."""

    rate: Rate

    def steps(self, gradients: Arrays, params: Arrays) -> list[np.ndarray]:
        rates = self.rate.at(np.arange(len(gradients)))
        return [g + rate * y for rate, g, y in zip(rates, gradients, params, strict=True)]


@dataclasses.dataclass(frozen=True)
class Average:
    """Momentum: an exponential average `a -> beta a + (1 - beta) u`, times a gain.

    Attributes:
        beta: what is left of the average after one update.
        gain: 1, or `1 / (1 - beta)` for the trace of a heavy ball, `m -> beta m + u`.
        debias: whether the average is divided by the sum of its weights.
        nesterov: whether the answer is the average after one more step with the same input; it has the same limit.
    """

    beta: float
    gain: float = 1.0
    debias: bool = False
    nesterov: bool = False

    def steps(self, gradients: Arrays, params: Arrays) -> list[np.ndarray]:
        found, average = [], np.zeros_like(gradients[0])
        for n, g in enumerate(gradients, start=1):
            average = self.beta * average + (1 - self.beta) * g
            answer = self.beta * average + (1 - self.beta) * g if self.nesterov else average
            found.append(self.gain * answer / (1 - self.beta**n if self.debias else 1))
        return found


@dataclasses.dataclass(frozen=True)
class Normalise:
    """RMSProp and Adam: an average of `u`, over the root of an average of `u^2`.

    Attributes:
        first: the decay of the average of `u`; 0 where there is none.
        second: the decay of the average of `u^2`.
        eps: what is added to the root.
        eps_root: what is added under the root.
        debias: whether the averages are divided by the sums of their weights.
        initial: the average of `u^2` at the start.
        nesterov: whether the first average is taken one step ahead; it has the same limit.
    """

    first: float
    second: float
    eps: float
    eps_root: float
    debias: bool = True
    initial: float = 0.0
    nesterov: bool = False

    def steps(self, gradients: Arrays, params: Arrays) -> list[np.ndarray]:
        found, mean = [], np.zeros_like(gradients[0])
        square = np.full_like(gradients[0], self.initial)
        b1, b2 = self.first, self.second
        for n, g in enumerate(gradients, start=1):
            mean, square = b1 * mean + (1 - b1) * g, b2 * square + (1 - b2) * g**2
            weights = (1 - b1**n, 1 - b2**n) if self.debias else (1.0, 1.0)
            ahead = b1 * mean / (1 - b1 ** (n + 1)) + (1 - b1) * g / weights[0] if self.nesterov else mean / weights[0]
            found.append(ahead / (np.sqrt(square / weights[1] + self.eps_root) + self.eps))
        return found


Part = Scale | Decay | Average | Normalise
