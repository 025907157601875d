"""Trajectories as labelled tables: names from the state's paths, dimensions, units."""

from typing import Any

import jax
import numpy as np

from .._tree import floats, label_of
from ..metric import MEASURES, LayerReport

_MEASURES = {
    "potential": "potential of the flow",
    "gradient_norm": "dual norm of the gradient, sqrt(grad f^T M^-1 grad f)",
    "inner_residual": "relative residual of the metric's solve with the gradient",
    "energy": "energy that the flow dissipates",
    "dissipated": "energy dissipated so far, through the metric",
    "ledger": "energy lost less energy dissipated, relative to the energy lost in the run",
}

LAYER_FACTS = {
    "rows": "rows of a layer's factor: samples times rows of the output metric",
    "parameters": "numbers of a layer",
    "solver": "how a layer's block is solved",
}
"""What does not change along a run."""

_BEST_STEP = "step size at which the metric's step lowers the quadratic model of all layers the most"

_PURE = ("iterations", "residual", "condition", "overlap")
"""Measures by layer that are pure numbers."""


def state_labels(ys: Any) -> list[tuple[str, np.ndarray]]:
    """One label for each float leaf: its path, `y` for a bare array, `state.` before what has a meaning already."""
    taken = {"time", "layer", "best_step", *_MEASURES, *map(layer_label, (*LAYER_FACTS, *MEASURES))}
    labelled = []
    for path, leaf in jax.tree.leaves_with_path(floats(ys)):
        name = (label_of(path) or "y").replace("/", "_")  # a slash is a group in a file
        name = f"state.{name}" if name in taken else name
        while name in taken:
            name += "_"
        taken.add(name)
        labelled.append((name, np.asarray(leaf)))
    return labelled


def observed_labels(trajectory: Any) -> list[tuple[str, np.ndarray]]:
    """One label for each leaf of what was observed: `observed.` and its path."""
    leaves = jax.tree.leaves_with_path(trajectory.observed)
    names = [".".join(filter(None, ["observed", label_of(path)])).replace("/", "_") for path, _ in leaves]
    return [(name, np.asarray(leaf)) for name, (_, leaf) in zip(names, leaves, strict=True)]


def measure_labels(trajectory: Any) -> list[tuple[str, np.ndarray, str]]:
    """Label, values and description of every measure that the run has."""
    return [
        (name, np.asarray(values), text)
        for name, text in _MEASURES.items()
        if (values := getattr(trajectory, name, None)) is not None
    ]


def layer_label(name: str) -> str:
    """The label of what a report by layer calls `name`."""
    return f"layer_{name}"


def to_xarray(trajectory: Any, batch: tuple[str, ...] = ()) -> Any:
    """A dataset with one variable for each leaf of the state and of `observed`, and for each measure.

    `batch` names the leading dimensions of an ensemble.
    """
    import xarray as xr

    units = dict(trajectory.units)
    lead = (*batch, "time")
    variables: dict[str, Any] = {}
    for name, values in state_labels(trajectory.ys):
        variables[name] = _variable(name, values, lead, units.get(name), "state")
    for name, values, text in measure_labels(trajectory):
        unit = units.get("potential") if name in ("potential", "energy", "dissipated") else None
        variables[name] = (lead, values, {"long_name": text} | ({"units": unit} if unit else {}))
    for name, values in observed_labels(trajectory):
        variables[name] = _variable(name, values, lead, units.get(name), "observed")
    variables |= _layer_variables(getattr(trajectory, "layers", None), units)
    time = ("time", np.asarray(trajectory.ts), {"long_name": "time"} | _unit(units.get("time")))
    return xr.Dataset(variables, coords={"time": time}, attrs={"solver": trajectory.solver})


def _layer_variables(layers: LayerReport | None, units: dict[str, str]) -> dict[str, Any]:
    """What is known of each layer, with the dimensions `time` and `layer`."""
    if layers is None:
        return {}
    variables: dict[str, Any] = {"layer": ("layer", np.asarray(layers.layers), {"long_name": "path of a layer"})}
    for name, text in LAYER_FACTS.items():
        variables[layer_label(name)] = "layer", np.asarray(getattr(layers, name)), {"long_name": text}
    for name, text in MEASURES.items():
        unit = _unit("1" if name in _PURE else None)
        variables[layer_label(name)] = ("time", "layer"), np.asarray(getattr(layers, name)), {"long_name": text} | unit
    best = {"long_name": _BEST_STEP} | _unit(units.get("time"))
    return variables | {"best_step": ("time", np.asarray(layers.best_step), best)}


def _variable(name: str, values: np.ndarray, lead: tuple[str, ...], unit: str | None, role: str):
    dims = lead + tuple(f"{name}_{axis}" for axis in range(values.ndim - len(lead)))
    return dims, values, {"long_name": name, "role": role} | _unit(unit)


def _unit(unit: str | None) -> dict[str, str]:
    return {"units": unit} if unit else {}


def to_dataframe(trajectory: Any) -> Any:
    """A data frame indexed by time; an entry of an array leaf is named `leaf[i,j]`."""
    import pandas as pd

    columns: dict[str, np.ndarray] = {}
    for name, values in [*state_labels(trajectory.ys), *observed_labels(trajectory)]:
        flat = values.reshape(len(values), -1)
        for index, column in zip(np.ndindex(values.shape[1:]), flat.T, strict=True):
            columns[name + (f"[{','.join(map(str, index))}]" if index else "")] = column
    columns |= {name: values for name, values, _ in measure_labels(trajectory)}
    if trajectory.layers is not None:
        for name in MEASURES:
            by_layer = trajectory.layers.by_layer(name).items()
            columns |= {f"{layer_label(name)}[{layer}]": np.asarray(column) for layer, column in by_layer}
        columns["best_step"] = np.asarray(trajectory.layers.best_step)
    return pd.DataFrame(columns, index=pd.Index(np.asarray(trajectory.ts), name="time"))
