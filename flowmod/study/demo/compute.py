"""All parts of the demo, as far as what is installed allows."""

import dataclasses

from ..extras import cure_for
from .config import DemoConfig
from .digits import load_digits
from .network import Network, compute_network
from .optimizers import Optimizers, compute_optimizers
from .regression import Regression, compute_regression
from .say import Say
from .toggle import Toggle, compute_toggle


@dataclasses.dataclass(frozen=True)
class Demo:
    """What the demo computed; the last three parts are `None` where there are no digits to learn.

    Attributes:
        config: its configuration.
        toggle: the gene circuit.
        network: the network in two metrics.
        regression: softmax regression and its twins.
        optimizers: discrete optimizers beside the network's flows.
        left_out: one sentence that says what is missing and how to get it; empty where all is there.
    """

    config: DemoConfig
    toggle: Toggle
    network: Network | None = None
    regression: Regression | None = None
    optimizers: Optimizers | None = None
    left_out: str = ""


def compute_demo(config: DemoConfig, say: Say) -> Demo:
    """Run all parts; `say` is told what is being done.

    Raises:
        ValueError: if the configuration makes no sense.
        SimulationError: if a run fails.
    """
    try:
        digits = load_digits(config.digits)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sklearn":
            raise
        left_out = f"The network, the regression and the optimizers are left out. {cure_for(error)}"
        return Demo(config, compute_toggle(config.toggle, say), left_out=left_out)
    toggle = compute_toggle(config.toggle, say)
    for_network, for_regression = config.digits.keys
    return Demo(
        config,
        toggle,
        compute_network(config.network, digits, for_network, say),
        compute_regression(config.regression, digits, for_regression, say),
        compute_optimizers(config.optimizers, config.network, digits, for_network, say),
    )
