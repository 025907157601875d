"""From a word on the command line to a flow: a built-in model, or an object in a Python file."""

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..flow import AbstractFlow
from .models import MODELS
from .target import Target


def resolve(text: str, settings: Mapping[str, Any]) -> Target:
    """The flow that `text` names, `settings` passed to what makes it.

    Args:
        text: a built-in model's name, or `file.py:object` with a flow or a function that makes one.
        settings: parameters by name.

    Raises:
        ValueError: if there is no such model, file, object or parameter, or the object is no flow.
    """
    path, name = _split(text)
    if path is None:
        if text.endswith(".py"):
            raise ValueError(f"`TARGET` {text} names a file only: write {text}:object, the flow in it.")
        if text not in MODELS:
            raise ValueError(
                f"`TARGET` {text!r} is no built-in model ({', '.join(MODELS)}): choose one, or write file.py:object."
            )
        model = MODELS[text]
        flow = _make(text, model.make, settings)
        return Target(text, flow, model.start, model.t1, model.box(flow), model.scale)
    flow = _object(path, name)
    if not isinstance(flow, AbstractFlow) and callable(flow):
        flow = _make(text, flow, settings)
    elif settings:
        raise ValueError(f"`--set` needs a function that makes the flow, but {text} is an object: make it a function.")
    if not isinstance(flow, AbstractFlow):
        raise ValueError(
            f"`TARGET` {text} must be a flow or a function that returns one, got {type(flow).__name__}: wrap a "
            "right-hand side `fn(t, y, args)` as `fm.VectorField(fn)`."
        )
    return Target(text, flow, box=getattr(flow, "box", None))


def place_in(text: str, error: BaseException) -> str | None:
    """Where in the file that `text` names an error came from, as `model.py, line 7`; `None` if from elsewhere."""
    path, _ = _split(text)
    if path is None:
        return None
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _location(path)]
    if isinstance(error, SyntaxError) and error.filename == _location(path):
        lines.append(error.lineno)
    return f"{path}, line {lines[-1]}" if lines else None


def _split(text: str) -> tuple[Path | None, str]:
    path, colon, name = text.rpartition(":")
    return (Path(path), name) if colon else (None, text)


def _location(path: Path) -> str:
    return str(path.absolute())


def _object(path: Path, name: str) -> Any:
    if path.suffix != ".py" or not path.is_file():
        raise ValueError(f"`TARGET` {path} is not a Python file: check the name.")
    spec = importlib.util.spec_from_file_location(f"flowmod_target_{path.stem}", _location(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.absolute().parent))  # as for a script: its neighbours can be imported
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if _is_own(value, spec.name)]
        raise ValueError(f"`TARGET` {path} has no object {name!r}: it has {', '.join(known) or 'no flow'}.")
    return getattr(module, name)


def _is_own(value: Any, module: str) -> bool:
    return isinstance(value, AbstractFlow) or (callable(value) and getattr(value, "__module__", None) == module)


def _make(text: str, make: Callable, settings: Mapping[str, Any]) -> Any:
    signature = inspect.signature(make)
    try:
        signature.bind(**settings)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise ValueError(f"`--set` does not fit {text}: {error}. Its parameters: {known}.") from None
    return make(**settings)
