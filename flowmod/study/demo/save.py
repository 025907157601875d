"""The runs of the demo as netCDF files: those of a trajectory are read back by `fm.load`."""

from pathlib import Path

from .compute import Demo
from .toggle import Toggle


def save_runs(demo: Demo, folder: Path) -> None:
    """Write the runs of all parts."""
    demo.toggle.trajectory.save(folder / "trajectory.nc")
    _save_ensemble(demo.toggle, folder / "ensemble.nc")
    if demo.network is not None:
        for name, training in demo.network.trainings.items():
            training.trajectory.save(folder / f"network_{name.lower()}.nc")
    if demo.regression is not None:
        for run in demo.regression.runs:
            run.trajectory.save(folder / f"regression_{run.decay:g}.nc")
    if demo.optimizers is not None:
        for name, comparison in demo.optimizers.comparisons.items():
            comparison.to_netcdf(folder / f"optimizers_{name.lower()}.nc", engine="h5netcdf")


def _save_ensemble(toggle: Toggle, path: Path) -> None:
    """The ensemble, and for each member the stable equilibrium where it ends (-1 for none), in either metric."""
    text = "index of the stable equilibrium at the end, by rising potential"
    dataset = toggle.runs.to_xarray().assign(
        end=("member", toggle.ends, {"long_name": text}),
        end_flat=("member", toggle.flat_ends, {"long_name": f"{text}, in the flat metric"}),
    )
    dataset.to_netcdf(path, engine="h5netcdf")
