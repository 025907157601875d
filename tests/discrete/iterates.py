"""Where an optimizer's iterates end, by one program for all numbers of steps."""

import equinox as eqx
import jax
import numpy as np
import optax

import flowmod as fm


def marcher(flow, method, **keywords):
    """`march(y0, h, steps)`: the iterate after so many steps, of the potential's own gradients."""

    @jax.jit
    def march(y0, h, steps):
        optimizer = fm.discretize(flow, h, method, **keywords)

        def step(_, carry):
            y, state = carry
            updates, state = optimizer.update(jax.grad(flow.potential)(y, None), state, y)
            return optax.apply_updates(y, updates), state

        return jax.lax.fori_loop(0, steps, step, (y0, optimizer.init(y0)))[0]

    return march


def one_step(flow, method, y, h, args=None, **keywords):
    """The update from `y`, with the potential's own gradient."""
    optimizer = fm.discretize(flow, h, method, args, **keywords)
    return optimizer.update(eqx.filter_grad(lambda y: flow.potential(y, args))(y), optimizer.init(y), y)[0]


def slopes(errors):
    """The order of convergence between errors at steps that halve."""
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
