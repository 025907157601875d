"""Why a run failed: the flow is looked at once more, outside the compiled solve, where it stopped."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._results import RESULTS
from .._tree import combine, dtype_of, floats, is_float_array, label_of, ravel, size, unraveler
from ..flow import AbstractFlow
from ..loss import Supervised
from ..metric import AbstractModularMetric, check_metric, modular_descent, report_of, value_and_covector
from ._faults import inner_fault, sample_at_fault

_LARGEST_DENSE = 1000


def diagnose(flow: AbstractFlow, result: RESULTS, t: float, y: Any, args: Any, t1: float, mean_step: float, explicit):
    """The cause of a failure at the last accepted state.

    Args:
        flow: the flow.
        result: the solver's own code.
        t: the time of the last accepted state.
        y: that state.
        args: handed to the flow.
        t1: where the run should have ended.
        mean_step: the mean accepted step.
        explicit: whether the solver is explicit.

    Returns:
        A `RESULTS` member that names the cause, and what happened where in whole sentences.
    """
    if result.is_okay:
        return result, ""
    found = _fault_at(flow, t, y, args)
    if found is not None:
        return found[0], f"The {found[1]} at t = {t:.6g}, {show_state(y)}."
    if result is not RESULTS.max_steps_reached:
        ahead = _fault_ahead(flow, t, y, args, t1)
        if ahead is not None:
            return ahead
    if explicit and result is RESULTS.max_steps_reached:
        rate = _spectral_radius(flow, t, y, args)
        # At its stability limit an explicit method steps by 2 to 5 times the fastest time scale, whatever happens.
        if mean_step > 0 and rate * mean_step > 1 and rate * (t1 - t) > 100:
            return RESULTS.stiff, (
                f"The flow is stiff: the fastest rate at t = {t:.6g}, {show_state(y)}, is {rate:.3g} per unit of time, "
                f"which holds the mean step at {mean_step:.3g} with {t1 - t:.3g} still to go."
            )
    reached = f"It got to t = {t:.6g} of {t1:.6g} with a mean step of {mean_step:.3g}; the flow is finite there"
    return result, f"{result} {reached}, {show_state(y)}."


def show_state(y: Any, most: int = 4) -> str:
    """A state in few words."""
    parts = []
    for path, leaf in jax.tree.leaves_with_path(floats(y))[:most]:
        leaf = np.asarray(leaf)
        value = np.array2string(leaf, precision=6, threshold=most) if leaf.size <= 8 else f"{leaf.shape}"
        parts.append(f"{label_of(path) or 'y'} = {value}")
    return ", ".join(parts)


def _fault_ahead(flow, t, y, args, t1):
    """A fault just beyond the last accepted state, along its velocity: where the rejected steps went."""
    velocity = jax.tree.map(np.asarray, _velocity(flow, t, y, args))
    speed = float(np.max(np.abs(np.asarray(ravel(velocity)))))
    eps = float(np.finfo(dtype_of(y)).eps)
    shortest = eps * max(abs(t), abs(t1), float(np.max(np.abs(np.asarray(ravel(y))))) / max(speed, 1e-300))
    for step in shortest * 4.0 ** np.arange(16):
        if step > t1 - t:
            return None
        with np.errstate(over="ignore", invalid="ignore"):  # a state that blows up may leave the numbers
            moved = jax.tree.map(lambda a, v, step=step: a + a.dtype.type(step) * v, floats(y), velocity)
        beyond = combine(jax.tree.map(jnp.asarray, moved), y)
        found = _fault_at(flow, t + step, beyond, args)
        if found is not None:
            return found[0], f"The {found[1]} just after t = {t:.6g}, {show_state(y)}."
    return None


def _fault_at(flow: AbstractFlow, t, y, args) -> tuple[RESULTS, str] | None:
    """What is wrong with the flow at one state, from the inside out: potential, metric, field."""
    place = flow.position(y)
    time = np.asarray(t, dtype=dtype_of(y))
    if flow.potential is not None:
        value = float(_value(flow, place, args))
        if not np.isfinite(value):
            # Once more with numbers that can be looked at: a potential may know which of its data is to blame.
            flow.potential(place, args)
            blame = sample_at_fault(flow.potential, place, args) if isinstance(flow.potential, Supervised) else ""
            return RESULTS.nonfinite_potential, f"potential is {value}" + (f" ({blame})" if blame else "")
    if flow.potential is not None and isinstance(flow.metric, AbstractModularMetric):
        converged, layers, mass = _inner_solve(flow, place, args)
        # Where the gradient is not finite, the solve is not to blame.
        if not converged and np.isfinite(layers.gradient_norm).all() and np.isfinite(layers.condition).any():
            return RESULTS.inner_solve_failed, inner_fault(flow.metric, layers, mass)
    elif flow.metric is not None and size(place) <= _LARGEST_DENSE:
        report = check_metric(flow.metric, place, args, time)
        if not report.finite:
            return RESULTS.nonfinite_metric, "metric has an entry that is not finite"
        if not report.symmetric:
            return RESULTS.asymmetric_metric, f"metric is not symmetric (|M - M^T|/|M| = {report.asymmetry:.2g})"
        if not report.positive:
            return RESULTS.indefinite_metric, (
                f"metric is not positive definite (smallest eigenvalue {report.smallest_eigenvalue:.6g})"
            )
    velocity = _velocity(flow, time, y, args)
    bad = [label_of(path) or "y" for path, v in jax.tree.leaves_with_path(velocity) if not np.isfinite(v).all()]
    if bad:
        return RESULTS.nonfinite_field, f"vector field is not finite in {', '.join(bad[:4])}"
    return None


@eqx.filter_jit
def _value(flow, place, args):
    return value_and_covector(flow.potential, place, args)[0]


@eqx.filter_jit
def _inner_solve(flow, place, args):
    descent = modular_descent(flow.potential, flow.metric, place, args)
    largest = jnp.stack([jnp.max(jnp.stack([jnp.max(entry) for entry in part])) for part in descent.operator.mass])
    return descent.solution.converged, report_of(flow.metric, descent), largest


@eqx.filter_jit
def _velocity(flow, t, y, args):
    return flow.vector_field(jnp.asarray(t, dtype=dtype_of(y)), y, args)


def _spectral_radius(flow, t, y, args) -> float:
    """Largest modulus of the Jacobian's eigenvalues, by power iteration on `J^T J`: an upper estimate."""
    return float(_gain(flow, np.asarray(t, dtype=dtype_of(y)), y, args))


@eqx.filter_jit
def _gain(flow, t, y, args):
    rest = eqx.filter(y, is_float_array, inverse=True)
    unravel = unraveler(y)

    def field(x):
        return ravel(flow.vector_field(t, combine(unravel(x), rest), args))

    x = ravel(y)
    _, pull = jax.vjp(field, x)

    def step(_, carry):
        v, _ = carry
        w = jax.jvp(field, (x,), (v,))[1]
        gain = jnp.linalg.norm(w)
        v = pull(w)[0]
        return v / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(x.dtype).tiny), gain

    start = jnp.cos(1.0 + jnp.arange(x.size, dtype=x.dtype))
    return jax.lax.fori_loop(0, 30, step, (start / jnp.linalg.norm(start), jnp.zeros((), x.dtype)))[1]
