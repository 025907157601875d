"""What is composed: rates, as numbers or as certificates, and gains. Nothing that could not be evaluated gets in."""

from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import ArrayLike, Float

from ..certificate._program import Program


@runtime_checkable
class Proof(Protocol):
    """What a certificate is to a composition; a `Composition` is one too."""

    @property
    def status(self) -> str:
        """`"proved"`, or why not."""
        ...

    @property
    def rate(self) -> Any:
        """The proved rate, 1/time."""
        ...

    @property
    def norm(self) -> float:
        """In which norm."""
        ...

    @property
    def corners(self) -> Any:
        """Where: the corners of a box, (2, n)."""
        ...

    @property
    def times(self) -> tuple[float, float] | None:
        """When: `(t0, t1)`, or `None` for all times."""
        ...

    @property
    def constant_metric(self) -> bool:
        """Whether the metric is the same at all states and times."""
        ...

    @property
    def metric_program(self) -> Program | None:
        """The metric's entries, where they are kept."""
        ...


Rate: TypeAlias = ArrayLike | Proof
Times: TypeAlias = tuple[float, float] | None

LARGEST = 2.0**511
"""The largest condition of weights: its square, a weight, is a float, and so is the inverse of that."""


class Rates(NamedTuple):
    """The modules' rates, (N,), and where all of them are proved: (2, n) corners and a span of time, else `None`."""

    values: Float[np.ndarray, " N"]
    corners: Float[np.ndarray, "2 n"] | None = None
    times: Times = None


def rates_of(**parts: Rate) -> Rates:
    """The rates of modules by the name of their argument."""
    return _collected(list(parts.items()))


def rates_in(argument: str, parts: Any) -> Rates:
    """The rates of a sequence of modules."""
    return _collected([(f"{argument}[{index}]", part) for index, part in enumerate(listed(argument, parts))])


def listed(argument: str, parts: Any) -> list[Any]:
    """A sequence of rates, not empty."""
    try:
        parts = list(parts)
    except TypeError as error:
        raise ValueError(f"`{argument}` must be a sequence of rates or certificates, got {parts!r}.") from error
    if not parts:
        raise ValueError(f"`{argument}` must hold the rate of at least one module, got none.")
    return parts


def _collected(named: list[tuple[str, Any]]) -> Rates:
    values = np.array([_rate(argument, part) for argument, part in named])
    proofs = [(argument, part) for argument, part in named if isinstance(part, Proof)]
    if len(proofs) < len(named):
        return Rates(values)
    corners = np.concatenate([np.asarray(proof.corners) for _, proof in proofs], axis=1)
    return Rates(values, corners, _common_times(proofs))


def _common_times(proofs: list[tuple[str, Proof]]) -> Times:
    """When all of them hold."""
    spans = [proof.times for _, proof in proofs if proof.times is not None]
    if not spans:
        return None
    start, end = max(span[0] for span in spans), min(span[1] for span in spans)
    if start >= end:
        told = ", ".join(f"`{argument}` for t in {list(proof.times)}" for argument, proof in proofs if proof.times)
        raise ValueError(f"The rates are proved for times that don't overlap: {told}. Certify them for common ones.")
    return start, end


def _rate(argument: str, part: Rate) -> float:
    if isinstance(part, Proof):
        if part.status != "proved":
            raise ValueError(
                f"`{argument}` has the status {part.status!r}, and only what is proved composes to a proof. Certify it "
                "on a smaller region or in another metric, or give a number, such as a measured rate, for a result "
                "that is not proved."
            )
        if part.norm != 2:
            raise ValueError(
                f"`{argument}` is proved in the norm {part.norm}, and a block diagonal metric is one of the norm 2: "
                "certify it with `norm=2`."
            )
        if not part.constant_metric:
            raise ValueError(
                f"`{argument}` is proved in a metric that is not seen to be constant. What drives a module moves its "
                "state, and with it such a metric: the rate without an input need not hold with one. Certify it in a "
                "constant metric, or give a number, a rate of which you know that it holds with the inputs."
            )
        part = part.rate
    return number(argument, part)


def number(argument: str, value: Any) -> float:
    """One finite number."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{argument}` must be a number or a certificate, got {value!r}. Compositions are made outside of JAX "
            "transformations."
        ) from error
    if array.shape:
        raise ValueError(
            f"`{argument}` must be one number, got shape {array.shape}: of a module's rates along a run take the "
            "smallest, of its gains the largest."
        )
    if not np.isfinite(array):
        raise ValueError(
            f"`{argument}` must be finite, got {value!r}: a whole with a part that could not be evaluated has no rate."
        )
    return float(array)


def gain(argument: str, value: Any) -> float:
    """A number that is not negative."""
    value = number(argument, value)
    if value < 0:
        raise ValueError(f"`{argument}` can't be negative, got {value:.6g}: it is a size, without a sign.")
    return value


def weight(argument: str, value: Any) -> float:
    """A positive number whose inverse is a float too."""
    value = number(argument, value)
    if value < np.finfo(np.float64).tiny:
        raise ValueError(f"`{argument}` must be positive, and its inverse a float, got {value:.6g}.")
    return value


def gain_matrix(argument: str, values: Any, n: int) -> Float[np.ndarray, "N N"]:
    """The gains between `n` modules, zero on the diagonal."""
    try:
        gains = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{argument}` must be an ({n}, {n}) matrix of numbers, got {values!r}.") from error
    if gains.shape != (n, n):
        raise ValueError(
            f"`{argument}` must have the shape ({n}, {n}), one row and one column for each of the {n} modules, got "
            f"{gains.shape}."
        )
    for wrong, what in (
        (~np.isfinite(gains), "must be finite: a whole with a part that could not be evaluated has no rate"),
        (gains < 0, "is a norm and can't be negative: give its absolute value"),
        ((gains != 0) & np.eye(n, dtype=bool), "must be zero: what a module does to itself is in its rate"),
    ):
        if wrong.any():
            i, j = (int(index) for index in np.argwhere(wrong)[0])
            raise ValueError(f"`{argument}[{i}][{j}]` = {gains[i, j]:.6g} {what}.")
    return gains
