"""Data with one entry for each sample, and the loss of one of them."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PyTree

from ..._tree import label_of, require_arguments
from ..._typing import State
from ...flow import AbstractFlow
from ...loss import Supervised, as_samples, cast_samples
from ...module import complete

Samples = PyTree
"""A tree of arrays with one entry for each sample on their first axes, as a flow gets it in `args`."""


class _Prediction(eqx.Module):
    problem: Supervised

    def __call__(self, y: State, sample: Any) -> Float[Array, "..."]:
        module = complete(self.problem.template, y)
        return module(cast_samples(sample[0], module))


class _Loss(eqx.Module):
    """The loss of one sample without the regularizer, which no sample changes."""

    problem: Supervised

    def __call__(self, y: State, sample: Any) -> Float[Array, ""]:
        return self.problem.loss(_Prediction(self.problem)(y, sample), sample[1])


def check_samples(argument: str, data: Samples) -> tuple[Samples, int]:
    """Data as arrays, and how many samples they are."""
    data = jax.tree.map_with_path(lambda path, leaf: as_samples(_name(argument, path), leaf), data)
    lengths = {leaf.shape[0] for leaf in jax.tree.leaves(data)}
    if len(lengths) != 1:
        raise ValueError(
            f"`{argument}` must be arrays with one entry for each sample on their first axes, such as "
            f"(inputs, targets), got lengths {sorted(lengths)}."
        )
    return data, lengths.pop()


def _name(argument: str, path: tuple) -> str:
    return f"{argument}.{label_of(path)}" if path else argument


def check_reads_data(flow: AbstractFlow) -> None:
    """Raise a `ValueError` if the flow brings data of its own, which no other data replace."""
    if isinstance(flow.potential, Supervised) and flow.potential.inputs is not None:
        raise ValueError(
            "`flow` must take its data from `args`, to be run on others, but its problem has some of its own: make it "
            "without, `fm.Supervised(module, loss)`, and its metric too."
        )


def loss_of(flow: AbstractFlow, loss: Callable | None) -> Callable:
    """`loss(y, sample)`: the user's, or that of the flow's supervised problem."""
    if loss is not None:
        require_arguments("loss", loss, ("y", "sample"))
        return loss
    if not isinstance(flow.potential, Supervised):
        raise ValueError(
            "`loss` must be given, `loss(y, sample)` for one sample without a regularizer, where the flow's potential "
            "is no `fm.Supervised`."
        )
    return _Loss(flow.potential)


def prediction_of(flow: AbstractFlow) -> Callable | None:
    """`prediction(y, sample)`, the module's output, if the flow trains a module."""
    return _Prediction(flow.potential) if isinstance(flow.potential, Supervised) else None
