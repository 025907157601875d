"""Trajectories to disk: netCDF4, written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from .._tree import floats, is_float_array, label_of
from ._labels import observed_labels, state_labels, to_xarray

FORMAT = "flowmod trajectory 1"


def save(trajectory: Any, path: str | Path) -> Path:
    """See `Trajectory.save`."""
    path = Path(path)
    if path.suffix != ".nc":
        raise ValueError(f"`path` must end in .nc (netCDF4), got {path}. For a table use `to_dataframe().to_csv(...)`.")
    dataset = to_xarray(trajectory)
    dataset.attrs |= {
        "format": FORMAT,
        "result": trajectory.outcome.name,
        "reason": trajectory.reason,
        "end_time": np.asarray(trajectory.end_time),
        "stats": json.dumps({name: int(count) for name, count in trajectory.stats.items()}),
        "state_tree": _tree_of(floats(trajectory.ys), state_labels(trajectory.ys)),
        "observed_tree": _tree_of(trajectory.observed, observed_labels(trajectory)),
    }
    dataset.attrs["units"] = json.dumps(trajectory.units)
    encoding: dict[Any, dict[str, Any]] = {name: {"_FillValue": None} for name in dataset.variables}
    write_whole(path, lambda part: dataset.to_netcdf(part, engine="h5netcdf", encoding=encoding))
    return path


def write_whole(path: Path, write: Callable[[str], Any]) -> None:
    """Write beside the target and rename: a reader sees the old file or the new one, never half of one."""
    try:
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
    except OSError as error:
        raise ValueError(
            f"`path` {path} can't be written: {error.strerror or error}. Make its folder, or choose another."
        ) from error
    try:
        write(part)
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except OSError as error:
        raise ValueError(f"`path` {path} can't be written: {error.strerror or error}.") from error
    finally:
        Path(part).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _tree_of(tree: PyTree, labelled: list[tuple[str, np.ndarray]]) -> str:
    return json.dumps(_skeleton(tree, iter([name for name, _ in labelled])))


def _skeleton(tree: PyTree, names: Iterator[str]) -> Any:
    """The shape of a tree in JSON: containers by kind, leaves by the name of their variable, in flattening order."""
    if tree is None:
        return None
    if is_float_array(tree) or isinstance(tree, np.ndarray | jax.Array):
        return {"leaf": next(names)}
    children = jax.tree.leaves_with_path(tree, is_leaf=lambda node: node is not tree)
    kind = {dict: "dict", list: "list", tuple: "tuple"}.get(type(tree), "node")
    return {kind: [[label_of(path), _skeleton(child, names)] for path, child in children]}
