"""Run the benchmarks, or those whose names are given, and print one table: what, measured, wanted."""

import sys

from rich.console import Console
from rich.table import Table

from benchmarks import (
    accuracy,
    cache,
    edge,
    engine,
    ensembles,
    imports,
    libraries,
    networks,
    progress,
    race,
    scaling,
    single_runs,
    spectra,
    sweeps,
)

SUITES = {
    "accuracy": accuracy.measure,
    "networks": networks.measure,
    "imports": imports.measure,
    "single_runs": single_runs.measure,
    "cache": cache.measure,
    "edge": edge.measure,
    "ensembles": ensembles.measure,
    "progress": progress.measure,
    "engine": engine.measure,
    "scaling": scaling.measure,
    "libraries": libraries.measure,
    "race": race.measure,
    "spectra": spectra.measure,
    "sweeps": sweeps.measure,
}


def main() -> int:
    names = sys.argv[1:] or list(SUITES)
    unknown = set(names) - set(SUITES)
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}: choose among {', '.join(SUITES)}", file=sys.stderr)
        return 2
    table = Table("benchmark", "measured", "wanted", "")
    for name in names:
        for row in SUITES[name]():
            table.add_row(f"{name}: {row.what}", row.shown, row.wanted, "" if row.met else "missed")
    Console(width=140).print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
