"""An optimizer at its edge of stability, its gradient flow and its central flow, side by side."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import as_state, combine, floats, is_traced, ravel, size
from ..._typing import Args, State
from ...flow import GradientFlow
from ...metric import metric_products, value_and_covector
from ...simulate import simulate
from ..methods import discretize
from ._average import curvature_slopes
from ._edge_table import table
from ._march import Course, Record, begin, march
from .central_flow import CentralFlow, central_flow

if TYPE_CHECKING:
    import xarray as xr

_CHUNK = 50
"""Steps in one program: states of the gradient flow are kept for so many."""


def edge_of_stability(
    flow: GradientFlow,
    y0: State,
    step_size: float,
    steps: int,
    method: str = "euler",
    momentum: float | None = None,
    *,
    args: Args = None,
    directions: int = 4,
    substeps: int = 2,
    window: int = 101,
    slow_metric: bool = False,
    rtol: float | None = None,
    solver: Any = None,
) -> "xr.Dataset":
    """Run an optimizer, its gradient flow and its central flow from one start, and measure what was predicted.

    Iterate `n` of the optimizer is compared with both flows at the time `n h`, for heavy ball with the gradient flow
    at `n h / (1 - momentum)`. The central flow takes Euler's sub-steps along the averaged velocity, with leading
    eigenpairs that each begin with the last ones. It is at the threshold as soon as it has reached it. An optimizer's
    oscillation has to grow from rounding first, which may take hundreds of steps. A metric that depends on time is that
    of the time `n h` for the optimizer and the central flow, and for heavy ball's gradient flow that of its own time,
    `n h / (1 - momentum)`.

    Args:
        flow: the gradient flow.
        y0: the start, any pytree of float arrays, or an Equinox module.
        step_size: the time `h` of one step of the optimizer.
        steps: how many steps.
        method: `"euler"` or `"heavy_ball"`.
        momentum: a number in [0, 1), for `"heavy_ball"`.
        args: handed to the flow.
        directions: the most directions that are critical at once, as for `fm.central_flow`: where `critical` reaches
            it, give more.
        substeps: of the central flow in each step of gradient descent, from 2: one would not damp the critical
            directions. For heavy ball `(1 + momentum) / (1 - momentum)` times as many.
        window: steps over which measured losses and variances are averaged, centred.
        slow_metric: whether to leave out how a metric changes with the state, as for `fm.central_flow`.
        rtol: relative error of the gradient flow's steps, as for `fm.simulate`.
        solver: of the gradient flow, as for `fm.simulate`.

    Returns:
        An `xarray.Dataset` over `step`, from 0 to `steps`, with the time `n h` as a coordinate. Losses: `loss` of the
        optimizer, `loss_flow`, `loss_central`, `predicted_loss`, which is that of the central flow and its oscillation,
        and `mean_loss` and `mean_predicted_loss`, both averaged over the window. `sharpness` and `sharpness_central`,
        the largest eigenvalue of `M^-1 H` along both, and `curvature`, over `direction`, the next ones along the
        central flow; the attribute `threshold` is what the optimizer bears. `distance_central` and `distance_flow` of
        the optimizer, in the metric. `predicted_variance` of the oscillation, over `direction`: the eigenvalues of its
        covariance in the metric; `displacement`, of the optimizer from the central flow along its eigenvectors, and
        `measured_variance`, the displacement's square averaged over the window. `critical`, how many directions
        oscillate, and `products` with the Hessian that the central flow took. From where a run is not finite, NaN.

    Raises:
        ValueError: for wrong input; if the start is a critical point, or the potential has no third derivatives.
        SimulationError: if the gradient flow can't be run.

    Example:
        ```python
        dataset = fm.edge_of_stability(fm.GradientFlow(problem), net, 0.5, 2000, directions=6)
        fm.plot.edge_of_stability(dataset)
        ```

    Reference: J. M. Cohen, A. Damian, A. Talwalkar, J. Z. Kolter, J. D. Lee, "Understanding optimization in deep
    learning with central flows", arXiv:2410.24206.
    """
    if is_traced(flow, y0, step_size, args):
        raise ValueError(
            "`edge_of_stability` runs outside of JAX transformations only, but an argument is traced: call it with the "
            "values, or run `fm.central_flow` by `fm.simulate`."
        )
    for name, value, least in (("steps", steps, 1), ("substeps", substeps, 2), ("window", window, 1)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"`{name}` must be a whole number from {least}, got {value!r}.")
    averaged = central_flow(flow, step_size, method, momentum, directions=directions, slow_metric=slow_metric)
    # What sub-steps times threshold are for gradient descent, they are for one that is faster, and bears more, too.
    count = math.ceil(substeps * averaged.speed * averaged.threshold * averaged.step_size / 2 * (1 - 1e-9))
    averaged = dataclasses.replace(averaged, relaxation=1 / count)
    y0 = as_state("y0", y0)
    y0 = combine(jax.tree.map(jnp.asarray, floats(y0)), y0)
    _check_start(averaged, y0, args)
    records = _run(averaged, y0, int(steps), args, count, {"rtol": rtol, "solver": solver})
    return table(jax.tree.map(lambda leaf: leaf[: steps + 1], records), averaged, int(window))


def _run(averaged: CentralFlow, y0: State, steps: int, args: Args, substeps: int, options: dict[str, Any]) -> Record:
    """The records of at least so many steps."""
    momentum = averaged.momentum if averaged.method == "heavy_ball" else None
    optimizer = discretize(averaged.flow, averaged.step_size, averaged.method, args, momentum)
    course = Course(averaged, y0, args, substeps)
    abreast, found, there = begin(course, optimizer), [], y0
    period = averaged.step_size * averaged.speed
    for first in range(0, steps + 1, _CHUNK):
        times = period * np.arange(first, first + _CHUNK + 1)
        run = simulate(averaged.flow, there, t0=times[0], ts=times, args=args, **options)
        path = jnp.asarray(jax.vmap(ravel)(floats(run.ys)))
        there = jax.tree.map(lambda leaf: leaf[-1], floats(run.ys))
        there = combine(there, y0)
        abreast, record = march(course, optimizer, abreast, path[:-1])
        found.append(jax.tree.map(np.asarray, record))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)


def _check_start(averaged: CentralFlow, y0: State, args: Args) -> None:
    if not size(y0):
        raise ValueError(f"`y0` must hold at least one float array with an entry, got {y0!r}.")
    flat, potential = ravel(y0), averaged.potential
    value, covector = value_and_covector(potential, y0, args)
    step = averaged.step_size * metric_products(averaged.metric.at(0.0), y0, args)[1](ravel(covector))
    if not bool(jnp.all(jnp.isfinite(step)) & jnp.isfinite(value)):
        raise ValueError(f"`y0` must be a state with a finite potential, gradient and metric, got the value {value}.")
    if bool(jnp.all(jnp.abs(step) <= jnp.finfo(flat.dtype).eps * jnp.abs(flat))):
        raise ValueError(
            "`y0` is a critical point, which neither the optimizer nor a flow leaves: displace it, or start elsewhere."
        )
    try:
        jax.eval_shape(lambda x: curvature_slopes(potential, y0, args, x)(x), flat)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"`flow` must have a potential with third derivatives, and they failed ({type(error).__name__}: {reason}). "
            "Write it with `jax.custom_jvp` instead of `jax.custom_vjp`, and without callbacks."
        ) from error
