"""Which optimizer is this? The one place that knows how optax keeps what it was told.

An optax transformation is a pair of closures: the name of the function that made them says what it is, and the
variables that they hold on to are its numbers. Both may change with a version of optax, so that nothing is believed
that `check.py` does not see in the numbers of its updates.
"""

import inspect
import math
from collections.abc import Callable, Hashable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from ..._tree import is_traced
from ..methods import Discretization
from .check import check_part
from .nodes import Chain, Discretized, Element, Masked, Node, Partition, Position, place
from .parts import Average, Decay, Normalise, Part, Scale
from .rate import ONE, Rate

_CURES = {
    "optax.MultiSteps": "hand over the optimizer inside of it: the mean of several batches has the same flow",
    "optax.inject_hyperparams": "make the optimizer with its numbers and schedules themselves",
    "optax.apply_if_finite": "hand over the optimizer inside of it",
}


class _Wrong(Exception):
    """A number that an element can't have."""


def recognise(optimizer: Any) -> Node:
    """The tree of an optax transformation.

    Raises:
        ValueError: if it is none, or for the elements that have no known limit: all of them, with name and position.
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        hint = " Call `.gradient_transformation()`." if isinstance(optimizer, optax.MultiSteps) else ""
        raise ValueError(
            f"`optimizer` must be an optax transformation such as `optax.adam(1e-3)`, got {_kind(optimizer)}.{hint}"
        )
    unknown: list[str] = []
    node = _read(optimizer, (), unknown)
    if unknown:
        raise ValueError(
            "`optimizer` has parts that no flow is known for: " + "; ".join(unknown) + ". Leave them out for the flow "
            "of the rest, or run the optimizer itself beside a flow with `fm.compare`."
        )
    return node


def _read(made: optax.GradientTransformation, position: Position, unknown: list[str]) -> Node:
    discretization = getattr(made.update, "discretization", None)  # a chain keeps no more than the functions
    if isinstance(discretization, Discretization):
        return _discretized(position, discretization)
    name, known = _maker(made.update), _variables(made)

    def inner(key: Hashable, transformation: optax.GradientTransformation) -> Node:
        return _read(transformation, (*position, key), unknown)

    try:
        match name:
            case "optax.with_extra_args_support":
                return _read(known["tx"], position, unknown)
            case "optax.chain":
                pairs = zip(known["init_fns"], known["update_fns"], strict=True)
                return Chain(tuple(inner(i, optax.GradientTransformation(*pair)) for i, pair in enumerate(pairs)))
            case "optax.named_chain":
                return Chain(tuple(inner(key, each) for key, each in known["transforms"]))
            case "optax.masked":
                return Masked(position, _read(known["inner"], position, unknown), known["mask"])
            case "optax.partition":
                groups = {label: inner(label, each) for label, each in known["transforms"].items()}
                return Partition(position, groups, known["param_labels"])
            case _ if name in _READERS:
                return _element(made, position, name, known)
    except KeyError as error:
        raise ValueError(
            f"{place(position)} ({name}) can't be read: optax {optax.__version__} does not keep {error} where flowmod "
            "looks for it, which knows that of 0.2.8."
        ) from error
    cure = f" ({_CURES[name]})" if name in _CURES else ""
    unknown.append(f"{name} at {place(position)}{cure}")
    return Chain(())


def _element(made: optax.GradientTransformation, position: Position, name: str, known: dict[str, Any]) -> Element:
    precision = known.get("accumulator_dtype") or known.get("mu_dtype") or jnp.result_type(float)
    try:
        element = Element(position, name, _READERS[name](known), precision)
    except _Wrong as error:
        raise ValueError(f"{place(position)} ({name}) {error}") from None
    check_part(element, made)
    return element


def _maker(update: Any) -> str:
    """Who made an update function: `optax.trace`, or `where.it.is.from:name` for one of other origin."""
    module, path = getattr(update, "__module__", None), getattr(update, "__qualname__", None)
    if module is None or path is None:
        return f"{type(update).__module__}:{type(update).__qualname__}"
    return f"optax.{path.split('.')[0]}" if module.partition(".")[0] == "optax" else f"{module}:{path}"


def _variables(made: optax.GradientTransformation) -> dict[str, Any]:
    """What the two closures hold on to."""
    functions = [fn for fn in (made.init, made.update) if inspect.isfunction(fn)]
    return {name: value for fn in functions for name, value in inspect.getclosurevars(fn).nonlocals.items()}


def _number(value: Any) -> float:
    if is_traced(value):
        raise _Wrong("has a traced number: call `fm.flow_of` with the values; its flow may then be used in `jit`.")
    number = float(np.asarray(value))
    if not math.isfinite(number):
        raise _Wrong(f"has the number {number}: all of an optimizer's numbers must be finite.")
    return number


def _beta(value: Any) -> float:
    beta = _number(value)
    if not 0 <= beta < 1:
        raise _Wrong(f"has the decay {beta}: it must be in [0, 1), because a memory that never fades has no limit.")
    return beta


def _rate(value: Any) -> Rate:
    """A number or a schedule; the sign that `scale_by_learning_rate` puts before a schedule is a number again."""
    if not callable(value):
        return Rate(_number(value))
    if getattr(value, "__qualname__", "").startswith("scale_by_learning_rate.<locals>"):
        held = inspect.getclosurevars(value).nonlocals
        return Rate(_number(held["m"]), ((held["learning_rate"], 1),))
    return Rate(1.0, ((value, 1),))


def _discretized(position: Position, made: Discretization) -> Discretized:
    gain = ONE if made.momentum is None else Rate(1 / (1 - _beta(made.momentum)))
    return Discretized(position, "fm.discretize", made.flow, _rate(made.step_size) * gain)


def _trace(known: dict[str, Any]) -> Average:
    beta = _beta(known["decay"])
    return Average(beta, 1 / (1 - beta), nesterov=bool(known["nesterov"]))


def _rms(known: dict[str, Any]) -> Normalise:
    eps, inside = _number(known["eps"]), known["eps_in_sqrt"]
    return Normalise(
        first=0.0,
        second=_beta(known["decay"]),
        eps=0.0 if inside else eps,
        eps_root=eps if inside else 0.0,
        debias=bool(known["bias_correction"]),
        initial=_number(known["initial_scale"]),
    )


def _adam(known: dict[str, Any]) -> Normalise:
    b1, b2 = _beta(known["b1"]), _beta(known["b2"])
    return Normalise(b1, b2, _number(known["eps"]), _number(known["eps_root"]), nesterov=bool(known["nesterov"]))


_READERS: dict[str, Callable[[dict[str, Any]], Part]] = {
    "optax.identity": lambda known: Scale(ONE),
    "optax.set_to_zero": lambda known: Scale(Rate(0.0)),
    "optax.scale": lambda known: Scale(_rate(known["step_size"])),
    "optax.scale_by_schedule": lambda known: Scale(_rate(known["step_size_fn"])),
    "optax.add_decayed_weights": lambda known: Decay(_rate(known["weight_decay"])),
    "optax.trace": _trace,
    "optax.ema": lambda known: Average(_beta(known["decay"]), debias=bool(known["debias"])),
    "optax.scale_by_rms": _rms,
    "optax.scale_by_adam": _adam,
}


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
