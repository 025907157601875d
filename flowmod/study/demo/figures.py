"""The pictures of all parts of the demo."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .compute import Demo
from .digits_figures import draw_network, draw_optimizers, draw_regression, draw_step_limits
from .toggle_figures import draw_toggle


def draw_demo(demo: Demo) -> Iterator[tuple[str, Figure]]:
    """Names and figures, one after the other."""
    for name, figure in _draw(demo):
        yield name, figure
        plt.close(figure)


def _draw(demo: Demo) -> Iterator[tuple[str, Figure]]:
    yield from draw_toggle(demo.toggle)
    if demo.network is not None:
        yield from draw_network(demo.network)
    if demo.regression is not None:
        yield from draw_regression(demo.regression)
    if demo.network is not None and demo.optimizers is not None:
        yield "step_limits", draw_step_limits(demo.network, demo.optimizers)
        yield from draw_optimizers(demo.optimizers)
