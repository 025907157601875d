"""A module's loss on data: a potential that layerwise metrics can share a sweep with."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._tree import dtype_of, is_float_array, is_traced
from .._typing import Args, Potential, State
from ..module import AbstractModule, complete, require_module, template_of
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
        if not isinstance(loss, AbstractLoss):
            raise ValueError(f"`loss` must be a loss such as `fm.MeanSquaredError()`, got {type(loss).__name__}.")
        if regularizer is not None and not callable(regularizer):
            raise ValueError(
                f"`regularizer` must be a potential of (y, args) such as `fm.WeightDecay(1e-2)`, got {regularizer!r}."
            )
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
        dtype = dtype_of(params)
        return jnp.zeros((), dtype) if self.regularizer is None else self.regularizer(params, args).astype(dtype)

    def batch(self, args: Args) -> tuple[Array, Array]:
        """Inputs and targets: the fixed ones, or those of `args`."""
        return batch_of(self.inputs, self.targets, args)

    def _check(self, module: AbstractModule, inputs: Any, targets: Any) -> None:
        if self.inputs is not None and is_traced(module):
            return  # checked when they were given
        if inputs.shape[0] != targets.shape[0]:
            raise ValueError(
                f"`inputs` and `targets` must have the same length, got {inputs.shape[0]} samples and "
                f"{targets.shape[0]} targets."
            )
        outputs = eqx.filter_eval_shape(jax.vmap(module), cast_samples(inputs, module))
        if not isinstance(outputs, jax.ShapeDtypeStruct) or not jnp.issubdtype(outputs.dtype, jnp.floating):
            raise ValueError(f"`module` must return one float array per sample, got {outputs}.")
        self.loss.check(outputs, targets)


def as_samples(argument: str, samples: Any) -> Array:
    """Samples as an array with one entry per sample on its first axis, finite where they are floats."""
    try:
        array = jnp.asarray(samples)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{argument}` must be an array, got {type(samples).__name__}.") from error
    if array.ndim == 0 or array.shape[0] == 0:
        raise ValueError(f"`{argument}` must have samples along its first axis, got shape {array.shape}.")
    if is_float_array(array) and not is_traced(array):
        finite = np.isfinite(np.asarray(array)).reshape(array.shape[0], -1).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"`{argument}` must be finite, but sample {np.argmin(finite)} is not ({np.sum(~finite)} in all): drop "
                "or repair it."
            )
    return array


def cast_samples(inputs: Array, module: PyTree) -> Array:
    """Float samples in the precision of the parameters: a float32 network is not widened by float64 data."""
    return inputs.astype(dtype_of(module)) if is_float_array(inputs) else inputs


def batch_of(inputs: Array | None, targets: Array | None, args: Args) -> tuple[Array, Any]:
    """The fixed batch, or the one that `args` brings.

    Raises:
        ValueError: if there is neither.
    """
    if inputs is not None:
        return inputs, targets
    if not (isinstance(args, tuple | list) and len(args) == 2):
        raise ValueError(
            f"`args` must be (inputs, targets) where the problem has no data of its own, got {type(args).__name__}."
        )
    return as_samples("inputs", args[0]), as_samples("targets", args[1])
