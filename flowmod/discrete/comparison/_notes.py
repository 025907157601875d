"""What a reader of a comparison should know before its numbers: starts and optimizers that can't tell anything."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..._results import RESULTS
from ._sweep import Sweep
from ._table import Axes


def notes(sweeps: Sequence[Sweep], axes: Axes) -> list[str]:
    """Sentences, each naming a start or an optimizer, and what to do."""
    found = []
    for place, each in enumerate(sweeps):
        where = "" if axes.flows is None else f" of flow {axes.flows[place]!r}"
        found += [*_of_starts(each, where, axes.starts is None), *_of_optimizers(each, where, axes.optimizers)]
    return found


def _of_starts(found: Sweep, where: str, alone: bool) -> Iterator[str]:
    for row, loss in enumerate(found.first):
        start = "The start" if alone else f"Start {row}"
        if not np.isfinite(loss):
            yield f"{start}: the potential{where} is not finite there, so that all of its runs count as diverged."
        elif not found.reached[row]:
            why = str(RESULTS(int(found.outcome.results[row]))).removesuffix(".")
            yield f"{start}: the flow{where} could not be run until t1 ({why}), so that distances from it are missing."
        elif found.scale.at_rest[row]:
            yield (
                f"{start} is already at a critical point{where}: the flow does not move, and there is no order. "
                "Displace it."
            )


def _of_optimizers(found: Sweep, where: str, names: Sequence[str]) -> Iterator[str]:
    usable = np.isfinite(found.first)
    for name, records in zip(names, found.records, strict=True):
        at_once = (records.made <= 1) & ~np.isfinite(records.loss[..., -1])
        if usable.any() and at_once[usable].all():
            yield (
                f"Optimizer {name!r}: its first update{where} is not finite, at every step size and start. Look at "
                "what it returns for the gradient at the start."
            )
