"""Trajectories from disk, equal to the bit."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from .._results import RESULTS
from .._tree import as_state, combine, floats, label_of
from ..metric import MEASURES, LayerReport
from ._labels import LAYER_FACTS, layer_label
from ._measures import RecordedMeasures
from .save import FORMAT
from .trajectory import Trajectory


def load(path: str | Path, like: PyTree = None) -> Trajectory:
    """Read a trajectory that `Trajectory.save` wrote.

    Args:
        path: the file.
        like: a state of the run, for its tree: an Equinox module, say. By default dicts, lists and tuples come back
            as they were, and any other node as a dict by attribute name.

    Returns:
        The trajectory, its arrays equal to the saved ones to the bit. It knows its measures but not its flow.

    Raises:
        ValueError: if there is no such file, it is not a whole netCDF4 file, not one of ours, or not `like` the state.
    """
    import h5py
    import xarray as xr

    if not isinstance(path, str | Path):
        raise ValueError(f"`path` must be the name of a file, got {path!r}.")
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"`path` {path} is not a file: check the name, or save a trajectory there first.")
    try:
        # h5netcdf stumbles over its own finaliser on a broken file, so HDF5 has the first look.
        with h5py.File(path) as whole:
            whole.visititems(lambda name, item: None)
        with xr.open_dataset(path, engine="h5netcdf", decode_times=False, decode_cf=False) as opened:
            dataset = opened.load()
    except Exception as error:  # whatever h5py makes of a broken file
        raise ValueError(f"`path` {path} is not a readable netCDF4 file ({type(error).__name__}: {error}).") from error
    if dataset.attrs.get("format") != FORMAT:
        raise ValueError(f"`path` {path} is netCDF4 but not a saved trajectory (its `format` is not {FORMAT!r}).")
    try:
        return _trajectory(dataset, like)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"`path` {path} is a damaged trajectory file: {error!r}.") from error


def _trajectory(dataset: Any, like: PyTree) -> Trajectory:
    attrs = dataset.attrs
    values = {str(name): np.asarray(variable.values) for name, variable in dataset.variables.items()}
    ys = _fill(json.loads(attrs["state_tree"]), values)
    measures: dict[str, Any] = {}
    if "potential" in values:
        measures = {
            "energies": (values["potential"], values["energy"]),
            "slopes": (values["gradient_norm"], values.get("inner_residual"), _layers(values)),
        }
    return Trajectory(
        ts=values["time"],
        ys=ys if like is None else _as_tree_of(like, ys),
        dissipated=values.get("dissipated"),
        observed=_fill(json.loads(attrs["observed_tree"]), values),
        stats=json.loads(attrs["stats"]),
        result=RESULTS[attrs["result"]],
        end_time=np.asarray(attrs["end_time"])[()],
        measures=RecordedMeasures(measures),
        interpolation=None,
        reason=str(attrs["reason"]),
        solver=str(attrs["solver"]),
        units=tuple((label, unit) for label, unit in json.loads(attrs["units"])),
    )


def _layers(values: dict[str, np.ndarray]) -> LayerReport | None:
    if "layer" not in values:
        return None
    fields: dict[str, Any] = {name: tuple(values[layer_label(name)].tolist()) for name in LAYER_FACTS}
    fields |= {name: values[layer_label(name)] for name in MEASURES}
    return LayerReport(layers=tuple(values["layer"].tolist()), best_step=values["best_step"], **fields)


def _fill(skeleton: Any, values: dict[str, np.ndarray]) -> PyTree:
    if skeleton is None:
        return None
    [(kind, content)] = skeleton.items()
    if kind == "leaf":
        return values[content]
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](_fill(child, values) for _, child in content)
    return {name: _fill(child, values) for name, child in content if child is not None}


def _as_tree_of(like: PyTree, ys: PyTree) -> PyTree:
    like = as_state("like", like)
    wanted = [label_of(path) for path, _ in jax.tree.leaves_with_path(floats(like))]
    given = {label_of(path): leaf for path, leaf in jax.tree.leaves_with_path(ys)}
    if sorted(wanted) != sorted(given):
        raise ValueError(f"`like` has the leaves {wanted}, but the file has {list(given)}: give a state of that run.")
    shapes = {label_of(path): np.shape(leaf) for path, leaf in jax.tree.leaves_with_path(floats(like))}
    for name, leaf in given.items():
        if np.shape(leaf)[1:] != shapes[name]:
            raise ValueError(f"`like` has shape {shapes[name]} at '{name}', but the file {np.shape(leaf)[1:]}.")
    filled = jax.tree.unflatten(jax.tree.structure(floats(like)), [given[name] for name in wanted])
    return combine(filled, like)
