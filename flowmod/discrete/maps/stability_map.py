"""The fate of a family of optimizers over its step size and another number, beside the predicted limit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._tree import dtype_of, is_traced
from ..._typing import Args, Potential, State
from .._family import Family, made_by
from ..comparison._checks import check_step_sizes
from ..comparison._starts import check_starts
from ..fates import TAIL
from ._checks import check_axis, check_count, loss_at_start, potential_of
from ._predicted import predicted_limits
from ._settled import Settled, settle

if TYPE_CHECKING:
    import xarray as xr


def stability_map(
    family: Callable[[Any, Any], Any],
    y0: State,
    step_sizes: Any,
    *,
    potential: Potential | None = None,
    updates: int = 1000,
    args: Args = None,
    **other: Any,
) -> "xr.Dataset":
    """Run optimizers for every pair of a step size and another number, and say what became of each run.

    The other number may be anything that a family of optimizers has: a momentum, the mass of a metric, the size of
    batches. It is called what you call it:

    ```python
    heavy_ball = lambda h, beta: fm.discretize(flow, h, "heavy_ball", momentum=beta)
    fm.stability_map(heavy_ball, y0, step_sizes, momentum=jnp.linspace(0.0, 0.95, 40))

    layerwise = lambda h, mass: fm.discretize(fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=mass)), h)
    fm.stability_map(layerwise, net, step_sizes, mass=jnp.geomspace(1e-3, 1.0, 40))

    sgd = lambda h, n: fm.minibatch(optax.sgd(h), problem, n, key=key)
    fm.stability_map(sgd, net, step_sizes, batch_size=[1, 4, 16, 64])
    ```

    One program runs all pairs, many at once; those whose step factorises matrices one after the other. A run that
    blew up costs nothing more once all others of its chunk have, too.

    Args:
        family: a function from a step size and the other number, both traced, to an optax transformation.
        y0: the start of all runs. Whether a minimum is stable is seen from a start near it.
        step_sizes: positive numbers, (S,).
        potential: the loss `f(y, args)`; by default that of the flow or problem that the family is made from.
        updates: how many updates each run has.
        args: handed to the potential.
        **other: the values of the other number, (V,), by its name.

    Returns:
        An `xarray.Dataset` with the dimensions `step_size` and the other number's name. Variables: `fate`, one of
        "converged", "converging", "periodic", "irregular" and "diverged"; its `period` in updates, 0 where it has none;
        `loss` at the end; `growth`, the factor per update by which the distance of two neighbouring runs grows, above
        one, by more than rounding, where the optimizer is unstable or chaotic; and `predicted_limit` over the other
        number: the step limit at the end of the best run, of a family whose step is a multiple of its step size, and
        NaN where that has a schedule or is no discretised flow.

    Raises:
        ValueError: for wrong input, and for a family that fails in Python; a run that returns NaN has its fate.

    Reference: G. Benettin, L. Galgani, A. Giorgilli, J.-M. Strelcyn, "Lyapunov characteristic exponents for smooth
    dynamical systems and for Hamiltonian systems" (1980), for the growth.
    """
    if is_traced(y0, step_sizes, args, other):
        raise ValueError("`stability_map` runs outside of JAX transformations only, but an argument is traced.")
    y0, steps = check_starts(y0, False).tree, check_step_sizes(step_sizes)
    name, values = check_axis(other)
    updates = check_count("updates", updates, 1)
    grid = np.meshgrid(steps.astype(dtype_of(y0)), _in_precision(values, y0), indexing="ij")
    step_size, others = grid[0][len(steps) // 2, 0], grid[1][0]

    def make(value: Any) -> Any:
        return made_by("family", family, step_size, value)

    potential = potential_of("family", make(others[0])) if potential is None else potential
    start = loss_at_start(potential, y0, args)
    numbers = tuple(array.ravel() for array in grid)
    runs = settle(Family("family", family, potential, args), y0, numbers, updates, TAIL, potential)
    return _table(runs, start, steps, name, values, predicted_limits(make, others, runs.best, step_size), updates)


def _in_precision(values: np.ndarray, y0: State) -> np.ndarray:
    """Whole numbers are counts, and stay."""
    return values.astype(dtype_of(y0)) if values.dtype.kind == "f" else values.astype(np.int32)


def _table(
    runs: Settled, start: float, steps: np.ndarray, name: str, values: np.ndarray, limits: np.ndarray, updates: int
) -> "xr.Dataset":
    import xarray as xr

    shape, dims = (len(steps), len(values)), ("step_size", name)
    fate, period = runs.fates(start)

    def on_grid(array: np.ndarray, text: str):
        return dims, array.reshape(shape), {"long_name": text}

    variables = {
        "fate": on_grid(fate, "what became of the run"),
        "period": on_grid(period, "period, in updates"),
        "loss": on_grid(runs.loss[:, -1], "potential at the end"),
        "growth": on_grid(runs.growth, "growth of the distance to a neighbour per update"),
        "predicted_limit": (dims[1:], limits, {"long_name": "step limit at the end of the best run"}),
    }
    coords = {
        "step_size": ("step_size", steps, {"long_name": "step size"}),
        name: (name, values, {"long_name": name.replace("_", " ")}),
    }
    return xr.Dataset(variables, coords=coords, attrs={"updates": updates, "loss_at_start": start})
