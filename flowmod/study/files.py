"""Tables and pictures in single files, each written whole or not at all; the ending says the format."""

import os
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..simulate import Trajectory, write_whole

TABLES = (".csv", ".nc")
PICTURES = (".png", ".pdf", ".svg")

_DOTS_PER_INCH = 200


def check_target(argument: str, path: Path | None, endings: tuple[str, ...]) -> None:
    """Raise a `ValueError` before anything is computed for a file that could not be written at the end."""
    if path is None:
        return
    if path.suffix.lower() not in endings:
        raise ValueError(f"`{argument}` must end in {' or '.join(endings)}, got {path}.")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"`{argument}` {path} can't be written: there is no folder {path.parent}. Make it first.")
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"`{argument}` {path} can't be written: choose another name or folder.")


def save_trajectory(trajectory: Trajectory, path: Path) -> None:
    """As netCDF4, which `fm.load` reads back, or as a CSV table."""
    if path.suffix.lower() == ".csv":
        write_whole(path, trajectory.to_dataframe().to_csv)
    else:
        trajectory.save(path)


def save_table(path: Path, frame: Any, dataset: Any) -> None:
    """A data frame as CSV, or the dataset of the same content as netCDF4."""
    if path.suffix.lower() == ".csv":
        write_whole(path, frame.to_csv)
    else:
        write_whole(path, lambda part: dataset.to_netcdf(part, engine="h5netcdf"))


def save_figure(figure: Figure, path: Path) -> None:
    """A picture, 200 dots to the inch."""
    kind = path.suffix.lower().removeprefix(".")
    write_whole(path, lambda part: figure.savefig(part, format=kind, dpi=_DOTS_PER_INCH))
