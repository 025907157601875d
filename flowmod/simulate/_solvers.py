"""Defaults: which solver, which tolerances, which smallest step."""

from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from ._controller import OnState
from ._packing import Packing, StatePart

_DEFAULTS = {np.dtype("float32"): (1e-4, 1e-6), np.dtype("float64"): (1e-6, 1e-9)}
_TSIT5 = diffrax.Tsit5()


def tolerances(dtype: np.dtype, rtol: Any, atol: Any) -> tuple[Any, Any]:
    """Relative and absolute tolerance, by the state's precision where not given."""
    default_rtol, default_atol = _DEFAULTS[dtype]
    return default_rtol if rtol is None else rtol, default_atol if atol is None else atol


def choose_solver(solver: diffrax.AbstractSolver | str | None, rtol, atol, packing: Packing) -> diffrax.AbstractSolver:
    """`None` is Tsit5, `"stiff"` is Kvaerno5 with a true Newton iteration, a diffrax solver is itself."""
    if solver is None:
        return _TSIT5
    if isinstance(solver, diffrax.AbstractSolver):
        return solver
    if isinstance(solver, str) and solver == "stiff":
        return _stiff_solver(rtol, atol, packing)
    raise ValueError(f'`solver` must be None, "stiff" or a diffrax solver such as `diffrax.Dopri8()`, got {solver!r}.')


def _stiff_solver(rtol, atol, packing: Packing) -> diffrax.AbstractSolver:
    """Kvaerno5 with Newton's method.

    diffrax's stock chord iteration rejects half of its steps on stiff gene circuits and takes ten times as many.
    Newton is stopped at the step's own relative tolerance: its error is then the square of that. It also wants a small
    residual, a velocity, whose rounding is the fastest rate times that of the state: with `100 atol` fields of rate
    1e8 are followed, with `atol` every step of theirs is rejected.
    """
    norm = OnState(optx.rms_norm, StatePart(packing))
    return diffrax.Kvaerno5(root_finder=optx.Newton(rtol, 100 * packing.tolerance(atol), norm=norm))


def is_explicit(solver: diffrax.AbstractSolver) -> bool:
    return not isinstance(solver, diffrax.AbstractImplicitSolver)


def default_controller(solver, dtype: np.dtype, rtol, atol, t0, t1, dt0) -> diffrax.AbstractStepSizeController:
    """A PID controller with a smallest step; constant steps if the solver has no error estimate.

    Without a smallest step a field that turns NaN is retried until `max_steps`, and the run then reports the wrong
    reason. The smallest is a few roundings of the times at hand.
    """
    if not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        if dt0 is None:
            name = type(solver).__name__
            raise ValueError(f"`dt0` must be given for {name}, which has no error estimate: all its steps are `dt0`.")
        return diffrax.ConstantStepSize()
    dtmin = 16 * jnp.finfo(dtype).eps * jnp.maximum(jnp.abs(t0), jnp.abs(t1))
    return diffrax.PIDController(rtol=rtol, atol=atol, dtmin=dtmin, force_dtmin=False)
