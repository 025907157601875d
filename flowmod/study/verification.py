"""The check of a saved certificate, by a script in a process of its own."""

import subprocess
import sys
from pathlib import Path

from ..contraction import VERIFIER


def verify(path: Path) -> subprocess.CompletedProcess[str]:
    """What the script says of a file, and its exit code: 0 verified, 1 not, 2 unreadable or mpmath is missing."""
    return subprocess.run([sys.executable, str(VERIFIER), str(path)], capture_output=True, text=True, check=False)
