"""Tables and pictures in single files, each written whole or not at all; the ending says the format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ..flow import Equilibria
from ..simulate import Trajectory, write_whole
from .fixed_points import to_dataframe

TABLES = (".csv", ".nc")
PICTURES = (".png", ".pdf", ".svg")

_DOTS_PER_INCH = 200


def check_file(argument: str, path: Path | None, endings: tuple[str, ...]) -> None:
    """Raise a `ValueError` for a file that could not be written, before anything is computed for it."""
    if path is None:
        return
    if path.suffix not in endings:
        raise ValueError(f"`{argument}` must end in {' or '.join(endings)}, got {path}.")
    if path.is_dir():
        raise ValueError(f"`{argument}` {path} is a folder: name a file in it.")
    # Making a file is the one test that holds for every file system and user.
    probe = path.with_name(f".{path.name}.probe")
    try:
        probe.touch()
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(
            f"`{argument}` {path} can't be written ({reason}): make its folder, or choose another."
        ) from error
    probe.unlink()


def keep(out: Path | None, save: Callable[[Path], None], plot: Path | None, draw: Callable[[], Figure]) -> None:
    """Draw and save what was asked for. A picture that can't be drawn leaves no table behind either."""
    figure = draw() if plot else None
    if out:
        save(out)
    if plot and figure:
        save_figure(figure, plot)
        plt.close(figure)


def save_trajectory(trajectory: Trajectory, path: Path) -> None:
    """As netCDF4, which `fm.load` reads back, or as a CSV table."""
    if path.suffix == ".csv":
        write_whole(path, trajectory.to_dataframe().to_csv)
    else:
        trajectory.save(path)


def save_rates(trajectory: Trajectory, rates: np.ndarray, path: Path) -> None:
    """The trajectory with its contraction rates."""
    dataset = trajectory.to_xarray()
    unit = dataset["time"].attrs.get("units", "time")
    attributes = {"long_name": "contraction rate along the trajectory", "units": f"1/{unit}"}
    dataset = dataset.assign(contraction_rate=("time", rates, attributes))
    _save_table(trajectory.to_dataframe().assign(contraction_rate=rates), dataset, path)


def save_equilibria(equilibria: Equilibria, path: Path) -> None:
    """One row for each equilibrium."""
    frame = to_dataframe(equilibria)
    _save_table(frame, frame.to_xarray(), path)


def save_dataset(dataset: Any, path: Path) -> None:
    """The dataset, or a table with one row for each entry of its largest variable."""
    _save_table(dataset.to_dataframe(), dataset, path)


def save_figure(figure: Figure, path: Path) -> None:
    """A picture, 200 dots to the inch."""
    kind = path.suffix.removeprefix(".")
    write_whole(path, lambda part: figure.savefig(part, format=kind, dpi=_DOTS_PER_INCH))


def _save_table(frame: Any, dataset: Any, path: Path) -> None:
    if path.suffix == ".csv":
        write_whole(path, frame.to_csv)
    else:
        write_whole(path, lambda part: dataset.to_netcdf(part, engine="h5netcdf"))
