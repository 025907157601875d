"""The numbers of all parts of the demo as a dict for JSON: what `run.json` keeps and the tables show."""

from typing import Any

from .compute import Demo
from .digits_summary import summarise_network, summarise_optimizers, summarise_regression
from .toggle_summary import summarise_toggle


def summarise(demo: Demo) -> dict[str, Any]:
    """Every number, by part; `left_out` says why one is missing."""
    results: dict[str, Any] = {"toggle": summarise_toggle(demo.toggle)}
    if demo.network is not None:
        results["network"] = summarise_network(demo.network)
    if demo.regression is not None:
        results["regression"] = summarise_regression(demo.regression)
    if demo.optimizers is not None:
        results["optimizers"] = summarise_optimizers(demo.optimizers)
    return results | {"left_out": demo.left_out}
