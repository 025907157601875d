"""Whole steps of kfac-jax on a network that it recognises; imported only where kfac-jax is installed."""

import jax
import jax.numpy as jnp
import kfac_jax
from kfac_jax._src import tag_graph_matcher

from benchmarks.comparators.plain import outputs_of


def _evaluate(equation, values):
    """What kfac-jax 0.0.8 has as `eval_jaxpr_eqn`, for a JAX whose `get_bind_params` gives one dictionary."""
    with jax.extend.source_info_util.user_context(equation.source_info.traceback):
        output = equation.primitive.bind(*values, **equation.primitive.get_bind_params(equation.params))
    return output if isinstance(output, list) else [output]


def _shim():
    tag_graph_matcher.eval_jaxpr_eqn = _evaluate


def loss_of(weights, batch):
    """The mean cross-entropy, with the outputs registered as logits."""
    inputs, labels = batch
    logits = outputs_of(weights, inputs)
    kfac_jax.register_softmax_cross_entropy_loss(logits, labels)
    one_hot = jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype)
    return -(one_hot * jax.nn.log_softmax(logits)).sum(axis=1).mean()


def kfac_step(weights, batch, mass: float, inverse_every: int, mode: str = "fisher_exact"):
    """A function without arguments that takes one step; compiled, and past its first steps.

    Raises:
        RuntimeError: if a layer is not registered as dense: a comparison with a diagonal would be unfair.
    """
    _shim()
    optimizer = kfac_jax.Optimizer(
        jax.value_and_grad(loss_of),
        l2_reg=0.0,
        use_adaptive_learning_rate=False,
        use_adaptive_momentum=False,
        use_adaptive_damping=False,
        inverse_update_period=inverse_every,
        num_burnin_steps=0,
        estimation_mode=mode,
        multi_device=False,
    )
    weights = jax.tree.map(jnp.copy, weights)
    key = jax.random.key_data(jax.random.key(0))
    state = optimizer.init(weights, key, batch)
    blocks = [type(block).__name__ for block in optimizer._estimator.blocks]
    if blocks != ["DenseTwoKroneckerFactored"] * len(weights):
        raise RuntimeError(f"kfac-jax registered {', '.join(blocks)}: write each layer as `x @ W + b`.")
    held = [weights, state]  # copies: a step gives its arguments away

    def step():
        # A rate of zero learns nothing, so that all steps are of one kind.
        held[0], held[1], stats = optimizer.step(*held, key, batch=batch, learning_rate=0.0, momentum=0.0, damping=mass)
        jax.block_until_ready(held)
        return stats

    return step
