"""Examples share processes: an example that turns on float64 must not change the one after it."""

from typing import Any

import jax


def reset(gallery_conf: dict[str, Any], fname: str) -> None:
    """Called by sphinx-gallery before each example."""
    del gallery_conf, fname
    jax.config.update("jax_enable_x64", False)
