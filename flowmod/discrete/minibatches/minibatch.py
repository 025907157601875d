"""An optimizer on random minibatches, as an optax transformation."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ..._tree import combine, dtype_of, floats, is_traced
from ..._typing import Covector, State
from ...loss import Supervised, cast_samples
from ...metric import value_and_covector
from ...module import complete
from ._checks import check_key


class Minibatch(optax.GradientTransformationExtraArgs):
    """What `minibatch` makes: an optax transformation that knows what it is made of.

    Attributes:
        optimizer: the optimizer, an optax transformation.
        problem: the loss on all data.
    """

    optimizer: optax.GradientTransformation
    problem: Supervised


class MinibatchState(NamedTuple):
    """The state of an optimizer on minibatches.

    Attributes:
        count: how many updates there have been.
        order: the samples in this epoch's order, (N,).
        inner: the optimizer's own state.
    """

    count: Int[Array, ""]
    order: Int[Array, " N"]
    inner: Any


def minibatch(
    optimizer: optax.GradientTransformation,
    problem: Supervised,
    batch_size: Any,
    *,
    key: Any,
    replace: bool = False,
) -> Minibatch:
    """An optimizer that is given the gradient on a random minibatch, whatever gradient comes in.

    The mean of the gradients is that of the whole loss, and so `fm.GradientFlow(problem)` is the flow of the mean.
    Gradient, value and loss function are those of the batch; a metric is what it was made for.

    Args:
        optimizer: an optax transformation: `optax.sgd(0.1)`, `fm.discretize(flow, 0.1)`.
        problem: the loss, an `fm.Supervised` with data of its own; its regularizer is in every batch.
        batch_size: samples in a batch, at most all. It may be traced: each batch then costs as much as all data,
            and one that is no number from 1 to that of the samples gives NaN.
        key: a JAX random key; the batches are a function of it and of the number of the update.
        replace: whether each batch is drawn anew from all samples, with replacement. By default an epoch goes through
            the samples in a random order; those that no longer fill a batch wait for the next epoch.

    Returns:
        An optax transformation.

    Raises:
        ValueError: if the problem has no data, `batch_size` is no whole number from 1 to that of the samples, or `key`
            no random key.

    Reference: H. Robbins and S. Monro, "A stochastic approximation method" (1951).

    Example:
        ```python
        optimizer = fm.minibatch(optax.sgd(0.1), problem, 32, key=jax.random.key(0))
        ```
    """
    samples = _check(optimizer, problem, batch_size)
    check_key(key)
    optimizer = optax.with_extra_args_support(optimizer)
    most = samples if is_traced(batch_size) else int(batch_size)
    in_batch = jnp.asarray(batch_size, jnp.int32)
    batches, slots = samples // in_batch, jnp.arange(most, dtype=jnp.int32)

    def init(params: State) -> MinibatchState:
        return MinibatchState(jnp.zeros((), jnp.int32), jnp.arange(samples, dtype=jnp.int32), optimizer.init(params))

    def draw(count, order):
        if replace:
            return order, jax.random.randint(jax.random.fold_in(key, count), (most,), 0, samples)
        again = jax.random.fold_in(key, count // batches)
        order = jax.lax.cond(count % batches == 0, lambda: jax.random.permutation(again, order), lambda: order)
        return order, order[(count % batches * in_batch + slots) % samples]

    def update(updates: Covector, state: Any, params: State | None = None, *, static: Any = None, **extra: Any):
        del updates
        if params is None:
            raise ValueError(
                "`params` must be given, where the batch has its gradient: `update(grads, state, params)`."
            )
        order, rows = draw(state.count, state.order)
        dtype = dtype_of(params)
        # Fewer samples than asked for would give a part of the gradient.
        each = jnp.where((in_batch >= 1) & (in_batch <= samples), 1 / in_batch.astype(dtype), jnp.nan)
        weights = jnp.where((slots < in_batch) | jnp.isnan(each), each, jnp.zeros((), dtype))

        def loss(leaves, args=None):
            y = combine(leaves, params) if static is None else eqx.combine(floats(leaves), static)
            return _weighted_loss(problem, y, rows, weights)

        value, gradient = value_and_covector(loss, floats(params))
        extra |= {"value": value, "grad": gradient, "value_fn": loss, "static": static}
        steps, inner = optimizer.update(gradient, state.inner, params, **extra)
        return steps, MinibatchState(state.count + 1, order, inner)

    made = Minibatch(init, update)
    made.optimizer, made.problem = optimizer, problem
    return made


def _weighted_loss(problem: Supervised, y: State, rows: Int[Array, " B"], weights: Float[Array, " B"]):
    module = complete(problem.template, y)
    inputs, targets = problem.batch(None)
    outputs = jax.vmap(module)(cast_samples(inputs[rows], module))
    losses = jax.vmap(problem.loss)(outputs, targets[rows])
    return jnp.sum(weights * losses.astype(weights.dtype)) + problem.penalty(y)


def _check(optimizer: Any, problem: Any, batch_size: Any) -> int:
    """The number of samples."""
    if not isinstance(optimizer, optax.GradientTransformation):
        raise ValueError(
            f"`optimizer` must be an optax transformation such as `optax.sgd(0.1)`, got {type(optimizer).__name__}."
        )
    if not isinstance(problem, Supervised) or problem.inputs is None:
        raise ValueError(
            "`problem` must be an `fm.Supervised` with data to draw from, `fm.Supervised(module, loss, inputs, "
            f"targets)`, got {'one without data' if isinstance(problem, Supervised) else type(problem).__name__}."
        )
    samples = problem.inputs.shape[0]
    if not is_traced(batch_size):
        is_whole = np.ndim(batch_size) == 0 and np.asarray(batch_size).dtype.kind in "iu"
        if not is_whole or not 1 <= batch_size <= samples:
            raise ValueError(
                f"`batch_size` must be a whole number from 1 to the number of samples, {samples}, got {batch_size!r}."
            )
    return samples
