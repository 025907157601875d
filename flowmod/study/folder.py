"""A folder of results that is whole or not there: `run.json` is in it if and only if the run is complete."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

MANIFEST = "run.json"
"""The last file to come and the first to go."""


@contextlib.contextmanager
def results_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to write into; when all went well, its files move to `path` and replace their namesakes.

    Whatever goes wrong before leaves `path` as it was. An interruption while the files move leaves it without
    `run.json`: then run again.

    Raises:
        ValueError: if `path` can't be written to, before anything is computed.
    """
    # On the same file system as `path`, where a file moves in one step.
    near = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    try:
        staging = Path(tempfile.mkdtemp(dir=near, prefix=".flowmod-"))
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"`--out` {path} can't be written to ({reason}): choose another folder.") from error
    try:
        yield staging
        path.mkdir(parents=True, exist_ok=True)
        (path / MANIFEST).unlink(missing_ok=True)
        for file in sorted(staging.iterdir(), key=lambda file: file.name == MANIFEST):
            os.replace(file, path / file.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
