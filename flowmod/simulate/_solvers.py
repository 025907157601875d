"""Defaults: which solver, which tolerances, which smallest step."""

from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from ._controller import NormOfState

_DEFAULTS = {"float32": (1e-4, 1e-6), "float64": (1e-6, 1e-9)}


def tolerances(dtype: np.dtype, rtol: Any, atol: Any) -> tuple[Any, Any]:
    """Relative and absolute tolerance, by the state's precision where not given."""
    default_rtol, default_atol = _DEFAULTS[dtype.name]
    return default_rtol if rtol is None else rtol, default_atol if atol is None else atol


def choose_solver(solver: diffrax.AbstractSolver | str | None, rtol: Any, atol: Any) -> diffrax.AbstractSolver:
    """`None` is Tsit5, `"stiff"` is Kvaerno5 with a true Newton iteration, a diffrax solver is itself.

    diffrax's stock Kvaerno5 uses a chord iteration, which rejects half of its steps on stiff gene circuits and takes
    ten times as many. The root is sought a hundred times more closely than the step's error.
    """
    if solver is None:
        return diffrax.Tsit5()
    if isinstance(solver, diffrax.AbstractSolver):
        return solver
    if isinstance(solver, str) and solver == "stiff":
        # The Cauchy test would also ask for a small residual, which rounding denies to a very stiff field.
        newton = optx.Newton(0.01 * rtol, 0.01 * atol, norm=NormOfState(optx.rms_norm), cauchy_termination=False)
        return diffrax.Kvaerno5(root_finder=newton)
    raise ValueError(f'`solver` must be None, "stiff" or a diffrax solver such as `diffrax.Dopri8()`, got {solver!r}.')


def is_explicit(solver: diffrax.AbstractSolver) -> bool:
    return not isinstance(solver, diffrax.AbstractImplicitSolver)


def choose_controller(
    controller, solver, dtype: np.dtype, rtol, atol, t0, t1, dt0
) -> diffrax.AbstractStepSizeController:
    """A PID controller with a smallest step, unless the user brings one or the solver has no error estimate.

    Without a smallest step a field that turns NaN is retried until `max_steps`, and the run then reports the wrong
    reason. The smallest is a few roundings of the times at hand.
    """
    if controller is not None:
        return controller
    if not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        if dt0 is None:
            raise ValueError(
                f"`dt0` must be given for {type(solver).__name__}, which has no error estimate: all its steps are `dt0`."
            )
        return diffrax.ConstantStepSize()
    dtmin = 16 * jnp.finfo(dtype).eps * jnp.maximum(jnp.abs(t0), jnp.abs(t1))
    return diffrax.PIDController(rtol=rtol, atol=atol, dtmin=dtmin, force_dtmin=False)
