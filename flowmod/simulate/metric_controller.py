"""Step sizes that keep the error of a step small in the metric of the flow.

A controller of diffrax has a norm of vectors, which can't see the state; here the norm is made anew at every step.
"""

import math
from typing import Any, Self

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._tree import combine, dtype_of, is_traced
from .._typing import Args, State
from ..flow import AbstractFlow, require_flow
from ._checks import require_number
from ._lengths import lengths, require_by


class MetricController(diffrax.AbstractStepSizeController):
    """Adaptive steps with an error `e` of `|e|_M <= atol + rtol max(|y0|_M, |y1|_M)`, in the flow's metric at `y0`.

    `simulate(flow, y0, t1, controller=fm.MetricController(flow, rtol=1e-6, atol=1e-9))` takes the same steps in all
    linear coordinates, where the root mean square of diffrax's controllers takes others: what a number of the state
    may be wrong by is what it weighs in the metric. In the Euclidean metric it is the Euclidean norm. `M` is that of
    the step's start, because a step that is too long may end where there is no metric; it enters by products only.

    `rtol` is relative to the state's own length, as for `simulate`, and not to that of the step: near an equilibrium a
    step is as short as its rounding, and no shorter one would be relatively better.

    Args:
        flow: the flow that is run, for its metric; Euclidean if it has none.
        rtol: relative error of a step.
        atol: absolute error of a step, a length: the root of [potential] x time in a first-order flow.
        by: `"state"`, one length of the whole state; `"module"`, each module's error against the module's own length,
            in its diagonal block of the metric, or `"leaf"`, each array's, of which the largest decides. Modules are
            the layers of a network, or else the children of the state's tree. Position and velocity of a second-order
            flow are always apart.

    Raises:
        ValueError: if `flow` is no flow, a tolerance is not positive or `by` is none of these; when run, if `rtol` is
            below rounding, the state has parts that the metric does not measure, or the solver has no error estimate.
    """

    flow: AbstractFlow
    rtol: Any
    length: Any  # not `atol`, in which a root finder of diffrax would see an error of numbers of the state
    by: str = eqx.field(static=True)
    rest: PyTree

    def __init__(self, flow: AbstractFlow, rtol: Any, atol: Any, by: str = "state"):
        require_flow(flow)
        require_by(by)
        for name, tolerance in (("rtol", rtol), ("atol", atol)):
            if not is_traced(tolerance) and not 0 < require_number(name, tolerance) < math.inf:
                raise ValueError(f"`{name}` must be positive, got {tolerance}.")
        self.flow, self.by = flow, by
        self.rtol, self.length = jnp.asarray(rtol, dtype=float), jnp.asarray(atol, dtype=float)
        self.rest = None

    def completed(self, rest: PyTree) -> Self:
        """The controller for states whose leaves that are no float arrays are in `rest`."""
        return eqx.tree_at(lambda self: self.rest, self, rest, is_leaf=lambda node: node is None)

    def wrap(self, direction):
        return self

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        shortest = 16 * jnp.finfo(jnp.result_type(t0)).eps * jnp.maximum(jnp.abs(t0), jnp.abs(t1))
        allowed = self._allowed(self._lengths(t0, y0, [y0], args))

        def norm(vector):
            return jnp.max(self._lengths(t0, y0, [vector], args) / allowed)

        # diffrax guesses a first step for its own kind of term only; the field is all that it looks at.
        field = diffrax.ODETerm(lambda t, y, args: func(terms, t, y, args))
        next_t, state = _pid(shortest, norm).init(
            field, t0, t1, y0, dt0, args, lambda _, t, y, args: func(terms, t, y, args), error_order
        )
        return next_t, (shortest, state)

    def adapt_step_size(self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state):
        if y_error is None:
            raise ValueError("`solver` has no error estimate to control: use an adaptive one, such as Tsit5.")
        shortest, state = controller_state
        # Nothing is differentiated: like diffrax's, the steps are what they are.
        vectors = jax.lax.stop_gradient((y0, y1_candidate, y_error))
        before, after, error = self._lengths(t0, vectors[0], list(vectors), args)
        error = jnp.max(error / self._allowed(jnp.maximum(before, after)))
        error = jnp.where(jnp.isfinite(error) & jnp.isfinite(jnp.max(after)), error, jnp.inf)
        zero = jnp.zeros_like(error)
        *step, state, result = _pid(shortest, jnp.abs).adapt_step_size(
            t0, t1, zero, zero, args, error, error_order, state
        )
        return *step, (shortest, state), result

    def _lengths(self, t, y: State, vectors: list, args: Args) -> Float[Array, "V B"]:
        y = y if self.rest is None else combine(y, self.rest)
        return lengths(self.flow, self.by, t, y, vectors, args).astype(dtype_of(y))

    def _allowed(self, length: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.length.astype(length.dtype) + self.rtol.astype(length.dtype) * length


def _pid(shortest: Any, norm: Any) -> diffrax.PIDController:
    """Diffrax's controller of an error that is measured in what is allowed."""
    return diffrax.PIDController(rtol=0.0, atol=1.0, norm=norm, dtmin=shortest, force_dtmin=False)
