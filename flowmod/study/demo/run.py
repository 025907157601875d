"""The demo, from a configuration to a folder of results."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import save_figure
from ..folder import MANIFEST, results_folder
from ..provenance import provenance
from .compute import compute_demo
from .config import DemoConfig
from .figures import draw_demo
from .save import save_runs
from .say import Say
from .summary import summarise


def run_demo(config: DemoConfig, folder: Path, command: Sequence[str], say: Say = lambda line: None) -> dict[str, Any]:
    """Compute, draw and save the demo.

    Args:
        config: what to run.
        folder: where the results go: pictures, one `.nc` for each run (`trajectory.nc` and `network_*.nc` for
            `fm.load`), and `run.json` with the configuration, the versions and every number of the report. What an
            earlier run left is replaced once all of this is there.
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
        save_runs(demo, staging)
        record = provenance(command, dataclasses.asdict(config), config.digits.seed)
        record |= {"seconds": round(time.monotonic() - began, 1), "results": results}
        (staging / MANIFEST).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record
