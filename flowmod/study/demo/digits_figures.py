"""The pictures of what learns the digits: the network, the regression, the optimizers."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ... import plot
from .network import Network
from .optimizers import Optimizers
from .regression import Regression

_COLUMN, _PAGE = (3.4, 2.9), (7.0, 2.9)
"""Inches: one column of a journal, and its page."""

_WIDE = (5.1, 2.9)
"""Inches: a column, and a legend beside it."""


def draw_network(network: Network) -> Iterator[tuple[str, Figure]]:
    """Loss and accuracy by both clocks, ledgers, rates, layers."""
    for draw in (_network_loss, _network_accuracy, _network_ledger, _network_spectrum, _network_layers):
        yield draw.__name__.removeprefix("_"), draw(network)


def _network_loss(network: Network) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=_PAGE, layout="constrained", sharey=True)
    runs, clock = _runs(network)
    plot.potentials(runs, ax=left)
    plot.potentials(runs, clock=clock, ax=right)
    left.set_ylabel("training loss")
    right.set_ylabel("")
    return figure


def _network_accuracy(network: Network) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=_PAGE, layout="constrained", sharey=True)
    runs, clock = _runs(network)
    plot.observed(runs, "test_accuracy", ax=left)
    plot.observed(runs, "test_accuracy", clock=clock, ax=right)
    right.set_ylabel("")
    return figure


def _network_ledger(network: Network) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=_PAGE, layout="constrained")
    for ax, (name, training) in zip(axes, network.trainings.items(), strict=True):
        plot.ledger(training.trajectory, ax=ax)
        ax.legend(frameon=False, loc="lower right")
        ax.set_title(name, fontsize="medium")
    return figure


def _network_spectrum(network: Network) -> Figure:
    figure, ax = plt.subplots(figsize=_COLUMN, layout="constrained")
    layerwise = network.layerwise
    plot.spectrum(layerwise.probed, network.rates, layerwise.eigenvalues, ax=ax)
    return figure


def _network_layers(network: Network) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=_PAGE, layout="constrained")
    times = network.layerwise.trajectory.ts
    plot.layers(times, network.speeds, label="norm of the velocity", ax=left)
    plot.layers(times, network.conditions, label="condition number", ax=right)
    return figure


def draw_regression(regression: Regression) -> Iterator[tuple[str, Figure]]:
    """Rates beside `decay / mass`, and twins under their envelopes: a panel for each weight decay."""
    for name, draw in (("regression_rates", _rates_panel), ("regression_twins", _twins_panel)):
        width, height = _COLUMN
        count = len(regression.runs)
        figure, axes = plt.subplots(
            1,
            count,
            figsize=(count * width, height),
            layout="constrained",
            squeeze=False,
            sharey=name.endswith("twins"),
        )
        for ax, run in zip(axes.flat, regression.runs, strict=True):
            draw(regression, run, ax)
            ax.set_title(f"weight decay {run.decay:g}", fontsize="medium")
        for ax in axes.flat[1:]:
            ax.set_ylabel("")
        yield name, figure


def _rates_panel(regression: Regression, run, ax) -> None:
    plot.rate(run.trajectory, run.rates, ax=ax)
    predicted = run.decay / regression.config.mass
    ax.axhline(predicted, color="#000000", linestyle="--", linewidth=1.2, label="weight decay / mass")
    ax.set_ylim(0, 1.5 * predicted)
    ax.set_xlabel("flow time")
    ax.legend(frameon=False, loc="lower right")


def _twins_panel(regression: Regression, run, ax) -> None:
    del regression
    plot.twins(run.trajectory.ts, run.distances, run.rates, ax=ax)


def draw_step_limits(network: Network, optimizers: Optimizers) -> Figure:
    """The limits along the network's runs, with some of the step sizes of the optimizers."""
    figure, axes = plt.subplots(1, 2, figsize=_PAGE, layout="constrained")
    low, high, count = optimizers.config.step_sizes
    some = np.geomspace(low, high, count)[-4:-1]
    for ax, (name, training) in zip(axes, network.trainings.items(), strict=True):
        plot.step_limits(training.probed, training.limits, step_sizes=some, ax=ax)
        ax.set_title(name, fontsize="medium")
    return figure


def draw_optimizers(optimizers: Optimizers) -> Iterator[tuple[str, Figure]]:
    """Distance and fate over step size, for the optimizers of each flow."""
    for name, comparison in optimizers.comparisons.items():
        figure, ax = plt.subplots(figsize=_WIDE, layout="constrained")
        plot.comparison(comparison, ax=ax)
        ax.set_xlabel(f"{ax.get_xlabel()}, {name} flow")
        yield f"optimizers_{name.lower()}", figure


def _runs(network: Network):
    runs = {name: training.trajectory for name, training in network.trainings.items()}
    return runs, {name: training.seconds for name, training in network.trainings.items()}
