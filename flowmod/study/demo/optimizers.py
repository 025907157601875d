"""Optimizers of the network beside the flows that they imitate, over step sizes on both sides of the limit."""

import dataclasses
from typing import Any

import jax
import numpy as np
import optax

from ...discrete import compare, discretize
from .digits import Digits
from .network import NetworkConfig
from .say import Say


@dataclasses.dataclass(frozen=True)
class OptimizersConfig:
    """Optimizers of the network on some of the images; step sizes are times, all dimensionless.

    Attributes:
        images: how many of the images are learned: every step size is a training of its own.
        step_sizes: the smallest, the largest, and how many, in equal ratios.
        t1_layerwise: time up to which Euler's method is compared with the layerwise flow.
        t1_euclidean: time up to which SGD and Adam are compared with the Euclidean flow.
        rtol: relative tolerance of the flows, far below the distances of the optimizers from them.
    """

    images: int = 200
    step_sizes: tuple[float, float, int] = (0.01, 2.56, 9)
    t1_layerwise: float = 2.0
    t1_euclidean: float = 10.0
    rtol: float = 1e-7


@dataclasses.dataclass(frozen=True)
class Optimizers:
    """What `flowmod.compare` returned for each flow, by the flow's name."""

    config: OptimizersConfig
    comparisons: dict[str, Any]


def compute_optimizers(
    config: OptimizersConfig, network: NetworkConfig, digits: Digits, key: jax.Array, say: Say
) -> Optimizers:
    """Compare the optimizers with the flows of the network, from the start that the network's part has too.

    Raises:
        SimulationError: if a flow can't be run.
    """
    start, digits = network.network(key), digits.first(config.images)
    euclidean, layerwise = network.flows(start, digits)
    low, high, count = config.step_sizes
    sizes = np.geomspace(low, high, count)

    say(f"layerwise Euler, SGD and Adam at {count} step sizes, on {len(digits.labels)} images")
    euler = {"layerwise Euler": lambda h: discretize(layerwise, h)}
    others = {"SGD": optax.sgd, "Adam": optax.adam}
    comparisons = {
        "layerwise": compare(layerwise, euler, start, sizes, config.t1_layerwise, rtol=config.rtol),
        "Euclidean": compare(euclidean, others, start, sizes, config.t1_euclidean, rtol=config.rtol),
    }
    return Optimizers(config, comparisons)
