"""A comparison as a labelled table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...flow import Units

if TYPE_CHECKING:
    import xarray as xr

_ALL = ("optimizer", "flow", "start", "step_size", "time")
_RUN, _EACH = _ALL[:4], _ALL[:3]


class Result(NamedTuple):
    """What is known of one optimizer beside one flow: by start, step size and record, or less."""

    loss: np.ndarray
    distance: np.ndarray
    distance_metric: np.ndarray
    flow_loss: np.ndarray
    fate: np.ndarray
    period: np.ndarray
    error: np.ndarray
    margin: np.ndarray
    order: np.ndarray
    order_until: np.ndarray
    predicted_limit: np.ndarray
    limit_at_start: np.ndarray


_ABOUT = {
    "loss": (_ALL, "potential of the iterates", "potential"),
    "distance": (_ALL, "Euclidean distance from the flow", None),
    "distance_metric": (_ALL, "distance from the flow, in its metric there", None),
    "flow_loss": (_ALL[1:], "potential of the flow", "potential"),
    "fate": (_RUN, "what became of the run", None),
    "period": (_RUN, "updates after which a periodic run repeats itself", None),
    "error": (_RUN, "largest distance from the flow until t1", None),
    "margin": (_RUN, "step size over its predicted limit", None),
    "order": (_EACH, "exponent of the error in the step size", None),
    "order_until": (_EACH, "largest step size of the asymptotic regime", "time"),
    "predicted_limit": (_EACH, "smallest step limit along the flow", "time"),
    "limit_at_start": (_EACH, "step limit at the start", "time"),
}


class Axes(NamedTuple):
    """The labels of a table.

    Attributes:
        optimizers: names.
        flows: names, or `None` for one without a name.
        starts: how many, or `None` for one that is no axis.
        step_sizes: (S,).
        updates: numbers of updates, (S, 61).
        times: the flow's times of the records, (S, 61).
    """

    optimizers: list[str]
    flows: list[str] | None
    starts: int | None
    step_sizes: np.ndarray
    updates: np.ndarray
    times: np.ndarray


def table(results: Sequence[Sequence[Result]], axes: Axes, units: Units, attributes: dict[str, Any]) -> "xr.Dataset":
    """The dataset that `compare` returns, with units and descriptions.

    Args:
        results: one for each optimizer and flow.
        axes: the labels.
        units: pairs of a label and a unit.
        attributes: of the whole table.
    """
    import xarray as xr

    time, potential = (_unit(dict(units).get(name)) for name in ("time", "potential"))
    known = {"time": time, "potential": potential, None: {}}
    dataset = xr.Dataset(attrs=attributes)
    for name, (dims, text, unit) in _ABOUT.items():
        values = np.stack([np.stack([getattr(each, name) for each in row]) for row in results])
        # The flow is the same for all optimizers.
        values = values if dims[0] == "optimizer" else values[0]
        dataset[name] = (dims, values, {"long_name": text} | known[unit])
    if axes.flows is None:
        dataset = dataset.isel(flow=0)
    if axes.starts is None:
        dataset = dataset.isel(start=0)
    coords = {
        "optimizer": axes.optimizers,
        "step_size": ("step_size", axes.step_sizes, {"long_name": "step size"} | time),
        "flow_time": (("step_size", "time"), axes.times, {"long_name": "time of the record"} | time),
        "update": (("step_size", "time"), axes.updates, {"long_name": "number of updates"}),
    }
    if axes.flows is not None:
        coords["flow"] = axes.flows
    if axes.starts is not None:
        coords["start"] = np.arange(axes.starts)
    return dataset.assign_coords(coords)


def _unit(unit: str | None) -> dict[str, str]:
    return {"units": unit} if unit else {}
