"""Where the gap between an optimizer and its flow comes from, as a report: predicted, measured, by module."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..._tree import as_state, combine, dtype_of, floats, is_traced, size, traced_numbers
from ..._typing import Args, State
from ...flow import GradientFlow, Units
from ...metric import aligned
from ...module import modules_of
from ._checks import require_gradient_flow, require_method_for, require_one_step_size, require_order
from ._companions import run_companions
from ._gaps import Gaps, iterates, measure

if TYPE_CHECKING:
    import xarray as xr

_RECORDS = 60
_TOLERANCES = {np.dtype("float64"): 1e-10, np.dtype("float32"): 1e-5}


class GapReport(eqx.Module):
    """How far an optimizer is from its flow after each of some updates, and why: `print` it for a table.

    The gap is the iterate minus the flow at the same time, a vector whose length is that of the flow's metric at the
    flow's state. To the first order in the step size it is the solution of an equation along the flow, which the
    modified flow is the source of: that is the prediction. Arrays are of NumPy, by record (T,).

    Attributes:
        method: the method.
        step_size: the time `h` of one update.
        modules: the path of each module of the state, in the order of the arrays.
        parameters: how many numbers each has.
        updates: how many updates there were, (T,).
        t: their time, `updates` times `step_size`, (T,).
        gap: the length of the measured gap, (T,).
        predicted: the length of the predicted one, (T,).
        unexplained: the length of their difference, (T,), of the next order in the step size.
        modified: the distance of the iterates from each modified flow, (T, order), as a length in the flow's metric.
        shares: what each module has of the squared length of the gap, (T, L), with the sum one, or all zero where there
            is no gap. In a metric that couples modules half of what two have in common counts for each, so that a share
            may be negative.
        predicted_shares: the same of the predicted gap, (T, L).
        loss: the potential of the flow, (T,).
        loss_gap: the potential of the iterate minus that of the flow, (T,).
        predicted_loss_gap: what the predicted gap changes the potential by, (T,).
        regularisation: `(h/4) |grad f|_M^2` at the flow's states, (T,), negative for implicit steps: what the modified
            loss has more than the loss. Zero for methods of a higher order, which have none.
        regularisation_loss_gap: what of `predicted_loss_gap` it makes, (T,). The rest is of straight steps in curved
            coordinates, or of a metric that moves.

    Whatever is measured at an iterate is not finite after the optimizer has diverged.
    """

    method: str = eqx.field(static=True)
    step_size: float = eqx.field(static=True)
    modules: tuple[str, ...] = eqx.field(static=True)
    parameters: tuple[int, ...] = eqx.field(static=True)
    units: Units = eqx.field(static=True)
    updates: Int[np.ndarray, " T"]
    t: Float[np.ndarray, " T"]
    gap: Float[np.ndarray, " T"]
    predicted: Float[np.ndarray, " T"]
    unexplained: Float[np.ndarray, " T"]
    modified: Float[np.ndarray, "T order"]
    shares: Float[np.ndarray, "T L"]
    predicted_shares: Float[np.ndarray, "T L"]
    loss: Float[np.ndarray, " T"]
    loss_gap: Float[np.ndarray, " T"]
    predicted_loss_gap: Float[np.ndarray, " T"]
    regularisation: Float[np.ndarray, " T"]
    regularisation_loss_gap: Float[np.ndarray, " T"]

    def to_xarray(self) -> "xr.Dataset":
        """An `xarray.Dataset` with the dimensions `time`, `order` and `module`."""
        import xarray as xr

        second = {"modified": ("order",), "shares": ("module",), "predicted_shares": ("module",)}
        variables = {
            name: (("time", *second.get(name, ())), getattr(self, name), {"long_name": text})
            for name, text in _MEASURES.items()
        }
        unit = dict(self.units).get("time")
        coords = {
            "time": ("time", self.t, {"units": unit} if unit else {}),
            "updates": ("time", self.updates),
            "order": np.arange(1, self.modified.shape[1] + 1),
            "module": list(self.modules),
            "parameters": ("module", list(self.parameters)),
        }
        return xr.Dataset(variables, coords=coords, attrs={"method": self.method, "step_size": self.step_size})

    def __str__(self) -> str:
        last = jax.tree.map(lambda leaf: leaf[-1], self)
        title = f"GapReport, {last.updates} updates of {self.method}, h = {self.step_size:.4g}, t = {last.t:.4g}"
        modified = [
            (f"from the modified flow of order {number}", f"{distance:.3g}", "")
            for number, distance in enumerate(last.modified, start=1)
        ]
        rows = [
            ("", "measured", "predicted"),
            ("gap to the flow", f"{last.gap:.3g}", f"{last.predicted:.3g}"),
            ("from the prediction", f"{last.unexplained:.3g}", ""),
            *modified,
            ("change of the loss", f"{last.loss_gap:.3g}", f"{last.predicted_loss_gap:.3g}"),
            ("by regularisation", "", f"{last.regularisation_loss_gap:.3g}"),
        ]
        modules = [("module", "parameters", "share of the gap", "predicted")] + [
            (name, str(count), f"{share:.3g}", f"{predicted:.3g}")
            for name, count, share, predicted in zip(
                self.modules, self.parameters, last.shares, last.predicted_shares, strict=True
            )
        ]
        return "\n".join([title, *(line and f"  {line}" for line in (*aligned(rows), "", *aligned(modules)))])


_MEASURES = {
    "gap": "length of the gap to the flow",
    "predicted": "length of the predicted gap",
    "unexplained": "length of the difference of gap and prediction",
    "modified": "distance from a modified flow",
    "shares": "share of the squared length of the gap",
    "predicted_shares": "share of the squared length of the predicted gap",
    "loss": "potential of the flow",
    "loss_gap": "potential of the iterate minus that of the flow",
    "predicted_loss_gap": "what the predicted gap changes the potential by",
    "regularisation": "what the modified loss has more than the loss",
    "regularisation_loss_gap": "what of the predicted change the regularisation makes",
}


def gap_report(
    flow: GradientFlow,
    y0: State,
    step_size: Any,
    steps: int,
    method: str = "euler",
    *,
    order: int = 1,
    args: Args = None,
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int = 100_000,
) -> GapReport:
    """How far an optimizer is from its flow, measured and predicted, and which modules that is in.

    The optimizer `fm.discretize(flow, step_size, method)` runs beside the flow and its modified flows. The prediction
    holds for small steps: where `unexplained` is not far below `gap`, terms of higher order matter, near the step limit
    more than any.

    Args:
        flow: the gradient flow.
        y0: the start, any pytree of float arrays, or an Equinox module.
        step_size: the time `h` of one update.
        steps: how many updates; up to 60 of the iterates are recorded, evenly spread to the last.
        method: as for `fm.modified_flow`.
        order: up to which order modified flows are run, 1 or 2.
        args: handed to the flow.
        rtol: relative error of the flow's steps; 1e-10 for a float64 state, 1e-5 for float32. A distance below it is
            none.
        atol: absolute error; a thousandth of `rtol`, times the largest number in `y0`.
        max_steps: of the flow's run.

    Returns:
        A `GapReport`.

    Raises:
        ValueError: for wrong input, and if nothing moves: the start is a critical point.
        SimulationError: if the flow or a modified flow can't be run until the end.

    Example:
        ```python
        print(fm.gap_report(flow, net, step_size=0.01, steps=200))
        ```

    Reference: E. Hairer, S. P. Norsett, G. Wanner, "Solving Ordinary Differential Equations I" (1993), ch. II.8.
    """
    _require_values(flow, y0, step_size, args)
    require_gradient_flow(flow)
    require_one_step_size(step_size)
    require_method_for(method, flow)
    require_order(order)
    _require_steps(steps)
    y0 = as_state("y0", y0)
    if not size(y0):
        raise ValueError(f"`y0` must hold at least one float array with an entry, got {y0!r}.")
    y0, args, dtype = combine(jax.tree.map(jnp.asarray, floats(y0)), y0), traced_numbers(args), dtype_of(y0)
    rtol = _TOLERANCES.get(dtype, 1e-10) if rtol is None else rtol
    options = {"rtol": rtol, "atol": rtol / 1000 * _scale(y0) if atol is None else atol, "max_steps": max_steps}
    updates = np.unique(np.linspace(0, steps, min(steps, _RECORDS) + 1).round().astype(np.int32))[1:]
    h, times = jnp.asarray(step_size, dtype), (updates * float(step_size)).astype(dtype)
    along = run_companions(flow, y0, h, times, method, order, args, options)
    found = iterates(flow, y0, h, jnp.asarray(updates), method, args)
    modules = modules_of(y0)
    gaps = measure(flow, y0, h, jnp.asarray(times), method, modules, args, found, along)
    gaps = Gaps(*map(np.asarray, gaps))
    if not gaps.gap.any() and not gaps.predicted.any():
        raise ValueError("`y0` is a critical point, where neither the flow nor the optimizer moves: start elsewhere.")
    counts = tuple(map(len, modules.places(y0)))
    known = {"modules": modules.names, "parameters": counts, "units": flow.units, "updates": updates, "t": times}
    return GapReport(method, float(step_size), **known, **gaps._asdict())


def _scale(y0: State) -> float:
    """The largest number of a state, or one if that is zero or not finite."""
    largest = max((float(jnp.max(jnp.abs(leaf), initial=0)) for leaf in jax.tree.leaves(floats(y0))), default=0.0)
    return largest if 0 < largest < np.inf else 1.0


def _require_values(*values: Any) -> None:
    if is_traced(*values):
        raise ValueError(
            "`gap_report` runs outside of JAX transformations only, but an argument is traced: call it with the values."
        )


def _require_steps(steps: Any) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"`steps` must be a whole number of updates from 1, got {steps!r}.")
