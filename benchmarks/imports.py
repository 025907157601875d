"""What `import flowmod` costs beside what it stands on."""

import subprocess
import sys

from benchmarks.timing import Row, interleaved, ratio


def _importer(what: str):
    return lambda: subprocess.run([sys.executable, "-c", f"import {what}"], check=True)


def measure() -> list[Row]:
    ours, base = interleaved(_importer("flowmod"), _importer("diffrax, optax"), repeats=7)
    return [ratio("import flowmod against import diffrax, optax", ours, base, 1.3)]
