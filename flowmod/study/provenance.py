"""Where results come from: command, configuration, versions, machine, commit."""

import datetime
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

_PACKAGE = Path(__file__).resolve().parent.parent
_DISTRIBUTIONS = (
    "flowmod",
    "jax",
    "jaxlib",
    "equinox",
    "diffrax",
    "lineax",
    "optimistix",
    "numpy",
    "xarray",
    "matplotlib",
)


def provenance(command: Sequence[str], config: dict[str, Any], seed: int | None) -> dict[str, Any]:
    """What `run.json` says of a run besides its results.

    Args:
        command: the words that started it.
        config: its configuration.
        seed: of its random numbers, `None` if it draws none.

    Returns:
        A dict for JSON. `git` is `None` unless the package lies in a checkout of its own; `dirty` says whether its
        files differ from the commit.
    """
    return {
        "command": list(command),
        "config": config,
        "seed": seed,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _DISTRIBUTIONS},
        "git": _commit(),
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "backend": jax.default_backend(),
            "devices": jax.device_count(),
            "precision": jnp.result_type(float).name,
        },
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> dict[str, Any] | None:
    root = _git("rev-parse", "--show-toplevel")
    # An installed copy may lie inside some other project's checkout, whose commit says nothing of it.
    if root is None or Path(root).resolve() / _PACKAGE.name != _PACKAGE:
        return None
    return {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain", "."))}


def _git(*words: str) -> str | None:
    command = ["git", "-C", str(_PACKAGE), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
