"""A network that learns digits, as a flow in the Euclidean metric and in its own layerwise one.

The layerwise flow does not contract. That is no failure: directions that leave all outputs unchanged (`K v = 0`) have
no Gauss-Newton curvature, so that only the curvature of the residuals decides there, and that has both signs.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ...contraction import contraction_rate
from ...flow import GradientFlow
from ...loss import SoftmaxCrossEntropy, Supervised
from ...metric import LayerwiseMetric
from ...module import AbstractModule, Linear, Pointwise
from .digits import Digits
from .say import Say
from .training import Training, accuracy, saved_times, state_at, train


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """A network of one hidden layer and how it is trained; times and rates are dimensionless.

    Attributes:
        hidden: units of the hidden layer.
        mass: `D` of the layerwise metric.
        t1_euclidean: end time of the flow in the Euclidean metric.
        t1_layerwise: end time of the flow in the layerwise metric.
        saved: how many times of each run are saved.
        probes: at how many of them rates and curvatures are worked out.
        rtol: relative tolerance of the runs.
    """

    hidden: int = 32
    mass: float = 0.1
    t1_euclidean: float = 50.0
    t1_layerwise: float = 10.0
    saved: int = 13
    probes: int = 5
    rtol: float = 1e-6

    def network(self, key: jax.Array) -> AbstractModule:
        """The network before training."""
        first, second = jax.random.split(key)
        return Linear(64, self.hidden, key=first) >> Pointwise(jnp.tanh) >> Linear(self.hidden, 10, key=second)

    def flows(self, network: AbstractModule, digits: Digits) -> tuple[GradientFlow, GradientFlow]:
        """The flows of the training, Euclidean and layerwise."""
        problem = Supervised(network, SoftmaxCrossEntropy(), digits.images, digits.labels)
        return GradientFlow(problem), GradientFlow(problem, LayerwiseMetric.of(problem, mass=self.mass))


@dataclasses.dataclass(frozen=True)
class Network:
    """What was computed of the network.

    Attributes:
        config: its configuration.
        euclidean: the training in the Euclidean metric.
        layerwise: the training in the layerwise metric.
        rates: contraction rates of the layerwise flow in its own metric at its probes, (S,) in 1/time.
        speeds: by layer the Euclidean norm of its velocity at the saved times of the layerwise run, (T,).
        conditions: by layer the condition number of its block, `1 + |K D^-1 K^T|`, (T,).
    """

    config: NetworkConfig
    euclidean: Training
    layerwise: Training
    rates: np.ndarray
    speeds: dict[str, np.ndarray]
    conditions: dict[str, np.ndarray]

    @property
    def trainings(self) -> dict[str, Training]:
        return {"Euclidean": self.euclidean, "layerwise": self.layerwise}


def compute_network(config: NetworkConfig, digits: Digits, key: jax.Array, say: Say) -> Network:
    """Train the network in both metrics.

    Raises:
        SimulationError: if a run fails.
    """
    network, observe = config.network(key), accuracy(digits)
    euclidean, layerwise = config.flows(network, digits)

    say(f"network 64-{config.hidden}-10 on {len(digits.labels)} images: the flow in the Euclidean metric")
    times = saved_times(config.t1_euclidean, config.saved)
    flat = train(euclidean, network, times, config.probes, config.rtol, observe)

    say("the flow in the layerwise metric")
    times = saved_times(config.t1_layerwise, config.saved)
    own = train(layerwise, network, times, config.probes, config.rtol, observe)

    say(f"its contraction rate at {len(own.probes)} times")
    states = [state_at(own.trajectory, row) for row in own.probes]
    rates = np.array([float(contraction_rate(layerwise, state, method="lanczos")) for state in states])
    layers = own.trajectory.layers
    assert layers is not None
    return Network(config, flat, own, rates, layers.by_layer("update_norm"), layers.by_layer("condition"))
