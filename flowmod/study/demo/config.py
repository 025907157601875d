"""What the demo runs, part by part."""

import dataclasses

from .digits import DigitsConfig
from .network import NetworkConfig
from .optimizers import OptimizersConfig
from .regression import RegressionConfig
from .toggle import ToggleConfig


@dataclasses.dataclass(frozen=True)
class DemoConfig:
    """What the demo runs.

    Attributes:
        toggle: the gene circuit.
        digits: the images that the other parts learn.
        network: a small network, in the Euclidean metric and in its layerwise one.
        regression: softmax regression with weight decay, which contracts.
        optimizers: discrete optimizers beside the network's flows.
    """

    toggle: ToggleConfig = dataclasses.field(default_factory=ToggleConfig)
    digits: DigitsConfig = dataclasses.field(default_factory=DigitsConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    regression: RegressionConfig = dataclasses.field(default_factory=RegressionConfig)
    optimizers: OptimizersConfig = dataclasses.field(default_factory=OptimizersConfig)


def quick_demo() -> DemoConfig:
    """The same with fewer starts, images and times: for a first look, and for tests."""
    # More than 100 images, so that solves are by conjugate gradients, which are much faster here than Cholesky's; and
    # the same in all parts, so that they share compiled programs, which take most of the time.
    return DemoConfig(
        toggle=ToggleConfig(starts=9),
        digits=DigitsConfig(train=110),
        network=NetworkConfig(hidden=8, t1_euclidean=20.0, t1_layerwise=5.0, saved=9),
        regression=RegressionConfig(images=110, saved=5),
        optimizers=OptimizersConfig(images=110, step_sizes=(0.01, 2.56, 9), t1_layerwise=1.0, t1_euclidean=5.0),
    )
