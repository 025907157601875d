"""Values as they are written on a command line: `name=value`, JSON states, boxes, and step sizes."""

import json
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._typing import State


def settings(argument: str, pairs: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs as a dict; a value is what JSON makes of it, else the text itself.

    Raises:
        ValueError: if a pair has no name or no `=`.
    """
    return {name: _value(text) for name, text in map(lambda pair: _split(argument, pair), pairs)}


def state(argument: str, texts: Sequence[str], default: State | None = None) -> State:
    """A state from JSON (`{"u": 1.0}`, `[1.0, 2.0]`), or from `name=value` pairs that change a default.

    A JSON list of numbers is an array, a list that holds objects a tuple. Every number becomes a float.

    Raises:
        ValueError: if the text is no state, or names an entry that the default does not have.
    """
    if len(texts) == 1 and texts[0].lstrip()[:1] in ("{", "["):
        return _tree(argument, _json(argument, texts[0]))
    entries = {name: _tree(argument, value) for name, value in settings(argument, texts).items()}
    return _changed(argument, default, entries)


def box(argument: str, texts: Sequence[str], default: tuple[State, State] | None = None) -> tuple[State, State]:
    """Two corners from a JSON pair of states, or from `name=low:high` pairs that change a default.

    Raises:
        ValueError: if the text is neither, or names an entry that the default does not have.
    """
    if len(texts) == 1 and texts[0].lstrip()[:1] == "[":
        corners = _json(argument, texts[0])
        if not (isinstance(corners, list) and len(corners) == 2):
            raise ValueError(f"`{argument}` must be a pair of states, {argument} '[[-1, -1], [1, 1]]', got {texts[0]}.")
        lower, upper = (_tree(argument, corner) for corner in corners)
        return lower, upper
    sides = {name: span(argument, text) for name, text in (_split(argument, pair) for pair in texts)}
    lower, upper = default or (None, None)
    return (
        _changed(argument, lower, {name: low for name, (low, _) in sides.items()}),
        _changed(argument, upper, {name: high for name, (_, high) in sides.items()}),
    )


def steps(argument: str, text: str) -> np.ndarray:
    """Step sizes from `low:high:count`, in equal ratios from the first to the last.

    Raises:
        ValueError: if the text is another, or the numbers are out of order.
    """
    low, high, count = _range(argument, text, "1e-3:1:12")
    if not (0 < low < high < math.inf and count >= 2):
        raise ValueError(f"`{argument}` must have 0 < low < high and a count of at least 2, got {text!r}.")
    return np.geomspace(low, high, count)


def fractions(argument: str, text: str) -> np.ndarray:
    """Numbers from `low:high:count`, from 0 up to below 1, evenly spaced.

    Raises:
        ValueError: if the text is another, or the numbers are out of order.
    """
    low, high, count = _range(argument, text, "0:0.95:20")
    if not (0 <= low < high < 1 and count >= 2):
        raise ValueError(f"`{argument}` must have 0 <= low < high < 1 and a count of at least 2, got {text!r}.")
    return np.linspace(low, high, count)


def _range(argument: str, text: str, example: str) -> tuple[float, float, int]:
    try:
        low, high, count = text.split(":")
        return float(low), float(high), int(count)
    except ValueError:
        raise ValueError(f"`{argument}` must be like {argument} {example} (low:high:count), got {text!r}.") from None


def _changed(argument: str, default: State | None, entries: dict[str, Any]) -> State:
    if default is None:
        return entries
    if not isinstance(default, dict):
        raise ValueError(f"`{argument}` must be JSON, because the state has no names: {argument} '[1.0, 2.0]'.")
    unknown = [name for name in entries if name not in default]
    if unknown:
        raise ValueError(f"`{argument}` has no entry '{unknown[0]}': the state has {', '.join(default)}.")
    return default | entries


def span(argument: str, text: str) -> tuple[float, float]:
    """Two numbers from `low:high`."""
    low, _, high = text.partition(":")
    try:
        return float(low), float(high)
    except ValueError:
        raise ValueError(f"`{argument}` must be like {argument} u=0:10, got {text!r}.") from None


def _split(argument: str, pair: str) -> tuple[str, str]:
    name, equals, text = pair.partition("=")
    if not (name.strip() and equals and text.strip()):
        raise ValueError(f"`{argument}` must be like {argument} name=value, got {pair!r}.")
    return name.strip(), text.strip()


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _json(argument: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"`{argument}` is not JSON ({error}): got {text}.") from None


def _tree(argument: str, value: Any) -> State:
    if isinstance(value, dict):
        return {name: _tree(argument, entry) for name, entry in value.items()}
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        return tuple(_tree(argument, entry) for entry in value)
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "if" or not array.size:
        raise ValueError(f"`{argument}` must hold numbers, got {json.dumps(value)}.")
    return jnp.asarray(array, dtype=float)
