"""The network `tanh(x W + b) ...` in plain arrays, written as `x @ W + b`: what kfac-jax recognises as dense layers."""

import jax
import jax.numpy as jnp


def plain_weights(net):
    """The weights (in, out) and biases of the linear layers of a module."""
    return [(layer.weight.T, layer.bias) for layer in net.layers if hasattr(layer, "weight")]


def outputs_of(weights, inputs):
    *hidden, (last, bias) = weights
    for weight, shift in hidden:
        inputs = jnp.tanh(inputs @ weight + shift)
    return inputs @ last + bias


def mean_loss(weights, inputs, targets):
    """Cross-entropy for integer labels, half the squared error for others: the mean over samples."""
    outputs = outputs_of(weights, inputs)
    if jnp.issubdtype(targets.dtype, jnp.integer):
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(outputs), targets[:, None], axis=1))
    return jnp.mean(jnp.sum((outputs - targets) ** 2, axis=1)) / 2
