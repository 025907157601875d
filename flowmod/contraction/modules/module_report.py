"""Which module limits the contraction of a whole: rates of modules, gains between them, and what follows from them."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from ..._tree import dtype_of, size, traced_numbers
from ..._typing import Args, State
from ...flow import AbstractFlow, require_flow
from ...metric import AbstractMetric, AbstractModularMetric, aligned, require_metric
from ...module import modules_of
from ...simulate import Trajectory, layer_report
from .._states import at_each_state
from ..compose import network
from ..jacobian import unless_own
from ._block_lanczos import block_rates_by_lanczos
from ._block_rates import Place, block_rates
from ._layer_constants import LayerConstants, layer_constants, network_metric

_DENSE = 500
"""Numbers of the state up to which `method="auto"` forms the Jacobian.

For a network of two layers the matrices took half the time of the products at 474 numbers, a fifth at 92. More modules
make products dearer: they are taken for each pair.
"""


class ModuleReport(eqx.Module):
    """The modules of a flow at a state, or at each state of a run: `print` it for a table.

    From `rates` and `gains` alone the rate of the whole is at least `bound`, in the flow's metric with each module's
    block multiplied by its weight: whatever else the couplings are, if they are no larger. What the actual ones do in
    that metric is `weighted_rate`, never less; in the metric as it is, `rate`. Along a run each state has weights of
    its own. One metric for all of them is that of
    `fm.compose.network(report.rates.min(axis=0), report.gains.max(axis=0))`.

    Arrays are of NumPy, with a leading axis of times for a trajectory.

    Attributes:
        modules: the path of each module, in the order of the arrays.
        parameters: how many numbers of the state each has.
        t: the time.
        rates: `-max eig(S_aa, M_aa)`, (L,), 1/time: how fast a module contracts, with its metric moved by all others.
        gains: `|Theta_a J_ab Theta_b^-1|`, (L, L), 1/time: the largest push, as lengths in the metric, that module `a`
            (row) gets from module `b` (column); zero on the diagonal.
        rate: the rate of the whole in the metric as it is, 1/time.
        bound: what rates and gains guarantee, 1/time.
        weighted_rate: the rate of the whole in the metric that `bound` is of, 1/time.
        headroom: the factor by which all gains may grow together until nothing is guaranteed; 0 where a module does not
            contract on its own.
        weights: the factor of each module's block in that metric, (L,).
        participation: how much of the slowest combination is in each module, (L,), with the sum one: the slope of
            `bound` in the module's rate.
        condition: of the metric's block of a layer, (L,), as in `fm.layer_report`; NaN where the flow's metric is not
            by layers.
        input_lipschitz: the largest `|dz_a/dz_{a-1}|` of a sample, (L,), of a layer and what follows it up to the next
            one with parameters; NaN where the state is no network.
        parameter_lipschitz: the largest `|K_a|` of a sample, (L,): what a change of the layer's parameters does to the
            output, measured in the metric of the outputs.
        parameter_bound: `|L_out| prod_{b > a} |dz_b/dz_{b-1}| |dz_a/dw_a|`, (L,), with the largest value of each
            factor, so that it is no less than `parameter_lipschitz`. All three are measured on the batch at the state:
            none holds for other states.
    """

    modules: tuple[str, ...] = eqx.field(static=True)
    parameters: tuple[int, ...] = eqx.field(static=True)
    t: Float[np.ndarray, "*times"]
    rates: Float[np.ndarray, "*times L"]
    gains: Float[np.ndarray, "*times L L"]
    rate: Float[np.ndarray, "*times"]
    bound: Float[np.ndarray, "*times"]
    weighted_rate: Float[np.ndarray, "*times"]
    headroom: Float[np.ndarray, "*times"]
    weights: Float[np.ndarray, "*times L"]
    participation: Float[np.ndarray, "*times L"]
    condition: Float[np.ndarray, "*times L"]
    input_lipschitz: Float[np.ndarray, "*times L"]
    parameter_lipschitz: Float[np.ndarray, "*times L"]
    parameter_bound: Float[np.ndarray, "*times L"]

    @property
    def shares(self) -> Float[np.ndarray, "*times L L"]:
        """What each rate, on the diagonal, and each gain, negative, contributes to `bound`, which is their sum.

        One percent more of a rate or of a gain changes the bound by one percent of its share.
        """
        x, scale = np.sqrt(self.participation), np.sqrt(self.weights)
        pushed = x * scale
        comparison = self.rates[..., None] * np.eye(len(self.modules), dtype=self.rates.dtype) - self.gains
        return pushed[..., :, None] * comparison * (x / scale)[..., None, :]

    @property
    def limiting_module(self) -> str | tuple[str, ...]:
        """The module whose rate moves the bound most; a name for each time of a trajectory."""
        return _named(_first_largest(self.participation), lambda index: self.modules[index])

    @property
    def limiting_coupling(self) -> Any:
        """The gain that costs the bound most, as `(from, into)`, `None` where there is none; for each time of a run.

        Of those that cost the same, as the two gains of a pair that is alone always do, it is the first.
        """
        count = len(self.modules)
        costs = np.where(np.eye(count, dtype=bool), 0, -self.shares).reshape(*self.shares.shape[:-2], -1)
        place = np.where(costs.max(axis=-1) > 0, _first_largest(costs), -1)

        def pair(index):
            return None if index < 0 else (self.modules[index % count], self.modules[index // count])

        return _named(place, pair)

    def at(self, place: int) -> "ModuleReport":
        """The report of one state of a trajectory."""
        return jax.tree.map(lambda leaf: np.asarray(leaf[place]), self)

    def to_dataframe(self) -> Any:
        """A `pandas.DataFrame` with a row for each module, the gains that it gets in columns of their own.

        Raises:
            ValueError: if there is more than one state.
        """
        import pandas as pd

        if np.ndim(self.rate):
            raise ValueError(
                f"This report is one of {len(self.rate)} states, and a table of modules is of one: take "
                "`report.at(-1)`."
            )
        columns = {name: getattr(self, name) for name in ("parameters", *_BY_MODULE)}
        gains = {f"gain from {module}": self.gains[:, index] for index, module in enumerate(self.modules)}
        return pd.DataFrame(columns | gains, index=pd.Index(self.modules, name="module"))

    def __str__(self) -> str:
        if np.ndim(self.rate):
            return f"{len(self.rate)} states, the last of them:\n{self.at(-1)}"
        known = [name for name in _BY_MODULE if np.isfinite(getattr(self, name)).any()]
        head = ("module", "parameters", *(name.replace("_", " ") for name in known))
        rows = [head] + [
            (name, str(self.parameters[a]), *(f"{getattr(self, column)[a]:.3g}" for column in known))
            for a, name in enumerate(self.modules)
        ]
        gains = [("gain into", *(f"from {name}" for name in self.modules))] + [
            (name, *("" if a == b else f"{self.gains[a, b]:.3g}" for b in range(len(self.modules))))
            for a, name in enumerate(self.modules)
        ]
        title = f"ModuleReport, t = {float(self.t):.4g}"
        tables = [*aligned(rows), "", *aligned(gains)]
        return "\n".join([title, *(line and f"  {line}" for line in tables), "", *self._verdict()])

    def _verdict(self) -> list[str]:
        limits = f"module '{self.limiting_module}'"
        if self.limiting_coupling is not None:
            limits += ", coupling from '{}' into '{}'".format(*self.limiting_coupling)
        return [
            f"rate of the whole         {float(self.rate):.4g}",
            f"bound of rates and gains  {float(self.bound):.4g}, in a metric where the rate is "
            f"{float(self.weighted_rate):.4g}",
            f"what limits the bound     {limits}",
        ]


_BY_MODULE = (
    "rates",
    "weights",
    "participation",
    "condition",
    "input_lipschitz",
    "parameter_lipschitz",
    "parameter_bound",
)


def module_report(
    flow: AbstractFlow,
    y: State | Trajectory,
    t: Any = 0.0,
    args: Args = None,
    metric: AbstractMetric | None = None,
    method: str = "auto",
) -> ModuleReport:
    """Which module limits the contraction of the whole: the rate of each, the gains between them, and their bound.

    Modules are the layers of a network, as its layerwise metric has them, and the children of any other tree: the
    entries of a tuple or dict, the modules of a wired system, the fields of an Equinox module. The metric must be block
    diagonal over them, as `fm.Euclidean`, `fm.DiagonalMetric`, `fm.LayerwiseMetric` and `fm.BlockMetric` are.

    The bound is that of a network of modules of which only rates and gains are known, so it may be far below the rate
    of the whole; for the layers of a network it often is. It is a statement at a state or along a run, no certificate.

    Args:
        flow: the flow.
        y: a state, or a `Trajectory` of this flow.
        t: the time of a state; a trajectory brings its own.
        args: handed to the flow and to the metric.
        metric: the metric; the flow's own by default, else Euclidean.
        method: `"dense"`, by the whole Jacobian and metric as matrices, for up to some hundreds of numbers;
            `"lanczos"`, by products on each module and each ordered pair of modules, for up to some thousands of
            numbers and some ten modules: `L^2` runs of some tens of products each, and estimates, of which a rate is
            too large and a gain too small if it is wrong; `"auto"`, dense for small states.

    Returns:
        A `ModuleReport`.

    Raises:
        ValueError: if the metric couples modules, or is no metric in one of them, or something is not finite: with the
            state, the time and the module; if `method` is another, or the state is traced.
        RuntimeError: if Lanczos did not converge: with the module or the pair.

    Example:
        ```python
        flow = fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1))
        print(fm.module_report(flow, net))
        ```

    Reference: J.-J. E. Slotine, "Modular stability tools for distributed computation and control" (2003).
    """
    require_flow(flow)
    if metric is not None:
        require_metric("metric", metric)
    if method not in ("auto", "dense", "lanczos"):
        raise ValueError(f'`method` must be "auto", "dense" or "lanczos", got {method!r}.')
    args = traced_numbers(args)
    metric = unless_own(flow, metric)

    def report(t, state, name):
        return _report(Place(flow, t, state, args, metric, modules_of(state), name), method)

    return at_each_state(report, y, t, flow, args, metric)


def _report(place: Place, method: str) -> ModuleReport:
    is_dense = method == "dense" or (method == "auto" and size(place.y) <= _DENSE)
    found = (block_rates if is_dense else block_rates_by_lanczos)(place)
    composed = network(found.rates, found.gains)
    weights = np.asarray(composed.weights)
    scale = np.sqrt(weights)
    comparison = scale[:, None] * (found.gains - np.diag(found.rates)) / scale[None]
    slowest = np.linalg.eigh((comparison + comparison.T) / 2)[1][:, -1]
    numbers = {
        "t": place.t,
        "rates": found.rates,
        "gains": found.gains,
        "rate": found.rate_in(np.ones_like(weights)),
        "bound": composed.rate,
        "weighted_rate": found.rate_in(weights),
        "headroom": composed.headroom,
        "weights": weights,
        "participation": slowest**2,
        **_constants(place),
    }
    dtype = dtype_of(place.y)
    counts = tuple(len(here) for here in place.blocks.places(place.y))
    return ModuleReport(place.blocks.names, counts, **{name: np.asarray(x, dtype) for name, x in numbers.items()})


def _constants(place: Place) -> dict[str, Any]:
    """What is known of layers only."""
    unknown = np.full(len(place.blocks.names), np.nan)
    layered = network_metric(place.flow, place.y)
    constants, condition = LayerConstants(unknown, unknown, unknown), unknown
    if layered is not None:
        constants = layer_constants(layered, place.y, place.args)
        if place.flow.potential is not None and isinstance(place.flow.metric, AbstractModularMetric):
            condition = layer_report(place.flow, place.y, place.t, place.args).condition
    return {"condition": condition, **constants._asdict()}


def _first_largest(values: Float[np.ndarray, "*times N"]) -> Any:
    """The place of the largest value; of those that differ by rounding the first."""
    return np.argmax(values >= (1 - 1e-6) * values.max(axis=-1, keepdims=True), axis=-1)


def _named(places: Any, name: Any) -> Any:
    return name(int(places)) if np.ndim(places) == 0 else tuple(map(name, places.tolist()))
