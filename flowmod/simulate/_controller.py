"""Step-size control that sees the state alone, can pause after any number of steps, and resume where it paused."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp


class LegController(diffrax.AbstractAdaptiveStepSizeController):
    """A controller around the user's, for a state that is augmented with its energy ledger.

    It does three things. The inner controller and the root finder's norm get the first entry of the augmented state
    only, so that steps are those of a run without a ledger. The run pauses after `budget` steps, a traced number:
    progress and long runs need no other program. And it hands out its next step and state, from which a later leg
    starts; diffrax itself would guess the first step anew, so that a resumed run would not be the same run.

    Attributes:
        inner: the controller that decides.
        budget: steps until the pause.
        resume: `next_t, inner_state` of the leg before, or `None`.
    """

    inner: diffrax.AbstractStepSizeController
    budget: Any
    resume: Any
    rtol: Any
    atol: Any
    norm: Callable

    def __init__(self, inner, budget, resume, rtol, atol):
        self.inner = inner
        self.budget = budget
        self.resume = resume
        self.rtol = getattr(inner, "rtol", rtol)
        self.atol = getattr(inner, "atol", atol)
        self.norm = NormOfState(getattr(inner, "norm", diffrax.PIDController(rtol=1.0, atol=1.0).norm))

    def wrap(self, direction):
        return eqx.tree_at(lambda c: c.inner, self, self.inner.wrap(direction))

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        if self.resume is not None:
            next_t, inner_state = self.resume
            return _reach(next_t, t1), (inner_state, next_t, jnp.asarray(0))
        _, spent = y0

        def state_func(terms, t, y, args):
            return func(terms, t, (y, spent), args)[0]

        next_t, inner_state = self.inner.init(terms, t0, t1, y0[0], dt0, args, state_func, error_order)
        return next_t, (_as_arrays(inner_state), next_t, jnp.asarray(0))

    def adapt_step_size(self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state):
        inner_state, _, steps = controller_state
        error = None if y_error is None else y_error[0]
        keep, next_t0, next_t1, made_jump, inner_state, result = self.inner.adapt_step_size(
            t0, t1, y0[0], y1_candidate[0], args, error, error_order, inner_state
        )
        steps = steps + 1
        paused = diffrax.RESULTS.where(
            steps >= self.budget, diffrax.RESULTS.max_steps_reached, diffrax.RESULTS.successful
        )
        result = diffrax.RESULTS.where(result == diffrax.RESULTS.successful, paused, result)
        return keep, next_t0, next_t1, made_jump, (_as_arrays(inner_state), next_t1, steps), result


class NormOfState(eqx.Module):
    norm: Callable

    def __call__(self, augmented):
        return self.norm(augmented[0])


def _reach(next_t, t1):
    # diffrax snaps a step to the end time if it is 100 roundings short of it; a resumed leg must do the same.
    return jnp.where(t1 - next_t <= 100 * jnp.finfo(next_t.dtype).eps * jnp.abs(t1), t1, next_t)


def _as_arrays(controller_state):
    # Python flags in a controller's state would make the resumed program another one than the first.
    return jax.tree.map(jnp.asarray, controller_state)
