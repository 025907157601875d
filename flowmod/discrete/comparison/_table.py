"""A comparison as a labelled table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...flow import Units
from ._runs import Records
from ._schedule import Schedule

if TYPE_CHECKING:
    import xarray as xr


class Result(NamedTuple):
    """What is known of one optimizer: by step size, except for the last three, which are numbers."""

    name: str
    records: Records
    fate: np.ndarray
    error: np.ndarray
    order: float
    limit_at_start: float
    predicted_limit: float


_RECORDED = ("optimizer", "step_size", "time")


def table(
    results: Sequence[Result],
    step_sizes: np.ndarray,
    plan: Schedule,
    flow_loss: np.ndarray,
    units: Units,
    attributes: dict[str, Any],
) -> "xr.Dataset":
    """The dataset that `compare` returns, with units and descriptions."""
    import xarray as xr

    time, potential = (_unit(dict(units).get(name)) for name in ("time", "potential"))

    def stacked(dims: tuple[str, ...], values: list, text: str, unit: dict[str, str] | None = None):
        return dims, np.stack(values), {"long_name": text} | (unit or {})

    records = [result.records for result in results]
    runs, each = _RECORDED[:2], _RECORDED[:1]
    variables = {
        "loss": stacked(_RECORDED, [r.loss for r in records], "potential of the iterates", potential),
        "distance": stacked(_RECORDED, [r.distance for r in records], "Euclidean distance from the flow"),
        "distance_metric": stacked(
            _RECORDED, [r.distance_metric for r in records], "distance from the flow, in its metric there"
        ),
        "flow_loss": (_RECORDED[1:], flow_loss, {"long_name": "potential of the flow"} | potential),
        "fate": stacked(runs, [result.fate for result in results], "what became of the run"),
        "error": stacked(runs, [result.error for result in results], "largest distance from the flow until t1"),
        "order": stacked(each, [result.order for result in results], "exponent of the error in the step size"),
        "predicted_limit": stacked(
            each, [result.predicted_limit for result in results], "smallest step limit along the flow", time
        ),
        "limit_at_start": stacked(each, [result.limit_at_start for result in results], "step limit at the start", time),
    }
    coords = {
        "optimizer": [result.name for result in results],
        "step_size": ("step_size", step_sizes, {"long_name": "step size"} | time),
        "flow_time": (_RECORDED[1:], plan.times, {"long_name": "time of the record"} | time),
        "update": (_RECORDED[1:], plan.updates, {"long_name": "number of updates"}),
    }
    return xr.Dataset(variables, coords=coords, attrs=attributes)


def _unit(unit: str | None) -> dict[str, str]:
    return {"units": unit} if unit else {}
