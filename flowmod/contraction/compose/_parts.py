"""What is composed: rates, as numbers or as certificates, and gains. Nothing that could not be evaluated gets in."""

from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import ArrayLike, Float


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


Rate: TypeAlias = ArrayLike | Proof


class Rates(NamedTuple):
    """The modules' rates, (N,), and whether all of them are proved."""

    values: Float[np.ndarray, " N"]
    proved: bool


def rates_of(**parts: Rate) -> Rates:
    """The rates of modules by the name of their argument."""
    return _collected(list(parts.items()))


def rates_in(argument: str, parts: Any) -> Rates:
    """The rates of a sequence of modules."""
    try:
        parts = list(parts)
    except TypeError as error:
        raise ValueError(f"`{argument}` must be a sequence of rates or certificates, got {parts!r}.") from error
    if not parts:
        raise ValueError(f"`{argument}` must hold the rate of at least one module, got none.")
    return _collected([(f"{argument}[{index}]", part) for index, part in enumerate(parts)])


def _collected(named: list[tuple[str, Any]]) -> Rates:
    values = np.array([_rate(argument, part) for argument, part in named])
    return Rates(values, all(isinstance(part, Proof) for _, part in named))


def _rate(argument: str, part: Rate) -> float:
    if isinstance(part, Proof):
        if part.status != "proved":
            raise ValueError(
                f"`{argument}` has the status {part.status!r}, and only what is proved composes to a proof. Certify it "
                "on a smaller region or in another metric, or give a number, such as a measured rate, for a result "
                "that is not proved."
            )
        norm = getattr(part, "norm", 2)
        if norm != 2:
            raise ValueError(
                f"`{argument}` is proved in the norm {norm}, and a block diagonal metric is one of the norm 2: certify "
                "it with `norm=2`."
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
