"""A module's loss on data: a potential that layerwise metrics can share a sweep with."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._tree import dtype_of, floats, is_traced, require_arguments
from .._typing import Args, Potential, State
from ..module import AbstractModule, complete, require_module, template_of
from ._samples import as_samples, cast_samples
from .losses import AbstractLoss


class Supervised(eqx.Module):
    """The mean loss of a module on a batch, as a potential `f(params, args)` of the module's parameters.

    Args:
        module: what is trained; it is kept by its structure and shapes, the parameters are the state.
        loss: `fm.MeanSquaredError()`, `fm.SoftmaxCrossEntropy()`, or a loss of your own.
        inputs: (N, ...) samples, fixed; or `None`, for batches that come as `args = (inputs, targets)`.
        targets: (N, ...) what they should give.
        regularizer: a potential of the parameters to add, such as `fm.WeightDecay(1e-2)`.

    Raises:
        ValueError: if inputs and targets have different lengths, a label is out of range, something is not finite, or
            the outputs do not fit the loss.

    Example:
        ```python
        problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), images, labels)
        flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1))
        ```
    """

    template: PyTree
    loss: AbstractLoss
    inputs: Array | None
    targets: Array | None
    regularizer: Potential | None

    def __init__(
        self,
        module: AbstractModule,
        loss: AbstractLoss,
        inputs: Any = None,
        targets: Any = None,
        regularizer: Potential | None = None,
    ):
        require_module("module", module)
        if not jax.tree.leaves(floats(module)):
            raise ValueError("`module` must have parameters, float arrays, to train: it has none.")
        if not isinstance(loss, AbstractLoss):
            raise ValueError(f"`loss` must be a loss such as `fm.MeanSquaredError()`, got {loss!r}: call the class.")
        if regularizer is not None:
            require_arguments("regularizer", regularizer, ("y", "args"))
        self.template = template_of(module)
        self.loss, self.regularizer = loss, regularizer
        if (inputs is None) != (targets is None):
            raise ValueError(
                "`inputs` and `targets` must be given together, or neither for batches in args = (inputs, targets)."
            )
        self.inputs = None if inputs is None else as_samples("inputs", inputs)
        self.targets = None if targets is None else as_samples("targets", targets)
        if inputs is not None:
            self._check(module, self.inputs, self.targets)

    def __call__(self, params: State, args: Args = None) -> Float[Array, ""]:
        module = complete(self.template, params)
        inputs, targets = self.batch(args)
        self._check(module, inputs, targets)
        outputs = jax.vmap(module)(cast_samples(inputs, module))
        return self.mean_loss(outputs, targets) + self.penalty(params, args)

    def mean_loss(self, outputs: Float[Array, "N ..."], targets: Array) -> Float[Array, ""]:
        """The mean over samples of the loss alone, without the regularizer."""
        return jnp.mean(jax.vmap(self.loss)(outputs, targets))

    def penalty(self, params: State, args: Args = None) -> Float[Array, ""]:
        """The regularizer's part; zero without one."""
        value = jnp.asarray(0.0 if self.regularizer is None else self.regularizer(params, args))
        if value.shape != ():
            raise ValueError(f"`regularizer` must return a scalar, got shape {value.shape}: sum or average over it.")
        return value.astype(dtype_of(params))

    def batch(self, args: Args) -> tuple[Array, Array]:
        """Inputs and targets: the fixed ones, or those of `args`."""
        if self.inputs is not None and _is_pair(args) and all(getattr(part, "ndim", 0) > 0 for part in args):
            raise ValueError(
                "`args` is a batch, (inputs, targets), but the problem has data of its own: make it without data, "
                "`fm.Supervised(module, loss)`, to have batches come through `args`."
            )
        return batch_of(self.inputs, self.targets, args)

    def _check(self, module: AbstractModule, inputs: Any, targets: Any) -> None:
        if self.inputs is not None and is_traced(module):
            return  # checked when they were given
        outputs = eqx.filter_eval_shape(jax.vmap(module), cast_samples(inputs, module))
        if not isinstance(outputs, jax.ShapeDtypeStruct) or not jnp.issubdtype(outputs.dtype, jnp.floating):
            raise ValueError(f"`module` must return one float array per sample, got {outputs}.")
        self.check_outputs(outputs, targets)

    def check_outputs(self, outputs: Any, targets: Any) -> None:
        """Raise a `ValueError` unless targets fit a batch of outputs, arrays or their shapes, and both the loss."""
        if outputs.shape[0] != targets.shape[0]:
            raise ValueError(
                f"`inputs` and `targets` must have the same length, got {outputs.shape[0]} samples and "
                f"{targets.shape[0]} targets."
            )
        self.loss.check(jax.ShapeDtypeStruct(outputs.shape, outputs.dtype), targets)


def batch_of(inputs: Array | None, targets: Array | None, args: Args) -> tuple[Array, Any]:
    """The fixed batch, or the one that `args` brings.

    Raises:
        ValueError: if there is neither.
    """
    if inputs is not None:
        return inputs, targets
    if not _is_pair(args):
        raise ValueError(
            f"`args` must be (inputs, targets) where the problem has no data of its own, got {type(args).__name__}."
        )
    return as_samples("inputs", args[0]), as_samples("targets", args[1])


def _is_pair(args: Args) -> bool:
    return isinstance(args, tuple | list) and len(args) == 2
