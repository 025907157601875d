"""The demo, from a configuration to a folder of results."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .demo import Demo, DemoConfig, Say, compute_demo
from .demo_figures import draw_demo
from .demo_summary import summarise
from .files import save_figure
from .folder import MANIFEST, results_folder
from .provenance import provenance


def run_demo(config: DemoConfig, folder: Path, command: Sequence[str], say: Say = lambda line: None) -> dict[str, Any]:
    """Compute, draw and save the demo.

    Args:
        config: what to run.
        folder: where the results go: pictures, `trajectory.nc` (for `fm.load`), `ensemble.nc`, and `run.json` with the
            configuration, the versions and every number of the report. What an earlier run left is replaced once all
            of this is there.
        command: the words that started the run, for `run.json`.
        say: is told what is being done.

    Returns:
        What `run.json` holds.

    Raises:
        ValueError: if the folder can't be written to, before anything is computed, or the configuration makes no sense.
        SimulationError: if a run fails.
    """
    began = time.monotonic()
    with results_folder(folder) as staging:
        demo = compute_demo(config, say)
        results = summarise(demo)
        say("pictures and tables")
        for name, figure in draw_demo(demo):
            save_figure(figure, staging / f"{name}.png")
        demo.trajectory.save(staging / "trajectory.nc")
        _save_runs(demo, staging / "ensemble.nc")
        # Starts are on a grid, so that there is no seed.
        record = provenance(command, dataclasses.asdict(config), seed=None)
        record |= {"seconds": round(time.monotonic() - began, 1), "results": results}
        (staging / MANIFEST).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def _save_runs(demo: Demo, path: Path) -> None:
    """The ensemble, and for each member the stable equilibrium where it ends (-1 for none), in either metric."""
    text = "index of the stable equilibrium at the end, by rising potential"
    dataset = demo.runs.to_xarray().assign(
        end=("member", demo.ends, {"long_name": text}),
        end_flat=("member", demo.flat_ends, {"long_name": f"{text}, in the flat metric"}),
    )
    dataset.to_netcdf(path, engine="h5netcdf")
