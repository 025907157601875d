"""Step-size control that sees the state alone, can pause after any number of steps, and resume where it paused."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp


class OnState(eqx.Module):
    """A norm of the state alone, without the energy that is carried behind it."""

    norm: Callable
    view: Callable

    def __call__(self, vector):
        return self.norm(self.view(vector))


class Watch(eqx.Module):
    """A condition that must hold for a stretch of time: diffrax's events remember nothing between steps."""

    condition: Callable
    window: Any

    def since(self, before, t, y, args):
        """Since when it holds, at the end of an accepted step; infinite where it does not."""
        return jnp.where(self.condition(t, y, args), jnp.minimum(before, t), jnp.inf).astype(before.dtype)


class LegController(diffrax.AbstractAdaptiveStepSizeController):
    """A controller around the user's.

    It does four things. The inner controller and the root finder's norm see the state without its energy ledger, so
    that steps are those of a run without one. The run pauses after `budget` steps, a traced number: progress and long
    runs need no other program. And it hands out its next step and state, from which a later leg starts; diffrax
    itself would guess the first step anew, so that a resumed run would not be the same run. And it stops the run where
    a condition has held for long enough.

    Attributes:
        inner: the controller that decides.
        view: what it sees of the vector.
        dt0: the first step, or `None`. diffrax would check it by a callback, which can't be cached.
        budget: steps until the pause.
        resume: the next time and the state of the leg before, or `None`.
        watch: the condition that stops the run once it has held for its window, or `None`.
        rtol: relative tolerance, for a root finder that asks for the controller's.
        atol: absolute tolerance, likewise.
        norm: norm of the state, likewise.
    """

    inner: diffrax.AbstractStepSizeController
    view: Callable
    dt0: Any
    budget: Any
    resume: Any
    watch: Watch | None
    rtol: Any
    atol: Any
    norm: Callable

    def __init__(self, inner, view, dt0, budget, resume, watch, rtol, atol, norm):
        self.inner = inner
        self.view = view
        self.dt0 = dt0
        self.budget = budget
        self.resume = resume
        self.watch = watch
        self.rtol = getattr(inner, "rtol", rtol)
        self.atol = getattr(inner, "atol", atol)
        self.norm = OnState(getattr(inner, "norm", None) or norm, view)

    def wrap(self, direction):
        return eqx.tree_at(lambda c: c.inner, self, self.inner.wrap(direction))

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        if self.resume is not None:
            next_t, memory = self.resume
            return _reach(next_t, t1), (memory, next_t, jnp.asarray(0))
        # The first step is guessed from the size of the field, of which the ledger's rate is no part.
        _, pull = jax.vjp(self.view, y0)

        def state_func(terms, t, y, args):
            return self.view(func(terms, t, pull(y)[0], args))

        next_t, inner_state = self.inner.init(terms, t0, t1, self.view(y0), self.dt0, args, state_func, error_order)
        since = None if self.watch is None else jnp.full_like(t0, jnp.inf)
        return next_t, ((_arrays(inner_state), since), next_t, jnp.asarray(0))

    def adapt_step_size(self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state):
        (inner_state, since), _, steps = controller_state
        error = None if y_error is None else self.view(y_error)
        keep, next_t0, next_t1, made_jump, inner_state, result = self.inner.adapt_step_size(
            t0, t1, self.view(y0), self.view(y1_candidate), args, error, error_order, inner_state
        )
        steps = steps + 1
        pause = (steps >= self.budget) & (result == diffrax.RESULTS.successful)
        result = diffrax.RESULTS.where(pause, diffrax.RESULTS.max_steps_reached, result)
        if self.watch is not None:
            since = jnp.where(keep, self.watch.since(since, t1, y1_candidate, args), since)
            stop = keep & (t1 - since >= self.watch.window)
            result = diffrax.RESULTS.where(stop, diffrax.RESULTS.event_occurred, result)
        return keep, next_t0, next_t1, made_jump, ((_arrays(inner_state), since), next_t1, steps), result


def _reach(next_t, t1):
    # diffrax snaps a step to the end time if it is 100 roundings short of it; a resumed leg must do the same.
    return jnp.where(t1 - next_t <= 100 * jnp.finfo(next_t.dtype).eps * jnp.abs(t1), t1, next_t)


def _arrays(controller_state):
    # Python flags in a controller's state would make the resumed program another one than the first.
    return jax.tree.map(jnp.asarray, controller_state)
