"""A network that learns digits, as a flow in the Euclidean metric and in its own layerwise one.

The layerwise flow does not contract. That is no failure: directions that leave all outputs unchanged (`K v = 0`) have
no Gauss-Newton curvature, so that only the curvature of the residuals decides there, and that has both signs.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._tree import dot
from ...contraction import contraction_rate
from ...flow import GradientFlow
from ...linalg import AbstractRows, Part
from ...loss import SoftmaxCrossEntropy, Supervised
from ...metric import LayerwiseMetric
from ...module import AbstractModule, Linear, Pointwise
from .digits import Digits
from .say import Say
from .training import Training, accuracy, saved_times, state_at, train

_POWERS = 150


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
        conditions: by layer the condition number of its block `I + D^-1/2 K^T K D^-1/2`, (T,).
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
    speeds, conditions = _along_layers(own)
    return Network(config, flat, own, rates, speeds, conditions)


def _along_layers(training: Training) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    metric, run = training.flow.metric, training.trajectory
    assert isinstance(metric, LayerwiseMetric)
    measured = [_layers_at(training.flow, metric, state_at(run, row)) for row in range(len(run))]
    speeds, conditions = np.moveaxis(np.asarray(measured), 0, -1)
    return dict(zip(metric.layers, speeds, strict=True)), dict(zip(metric.layers, conditions, strict=True))


@eqx.filter_jit
def _layers_at(flow: GradientFlow, metric: LayerwiseMetric, y: Any):
    """Norms of the layers' velocities and condition numbers of their blocks at a state, each (L,)."""
    operator = metric(y)
    velocity = operator.blocks.split(flow.vector_field(jnp.zeros(()), y, None))
    speeds = [jnp.sqrt(dot(part, part)) for part in velocity]
    blocks = zip(operator.factors, operator.mass, operator.blocks.split(operator.like), strict=True)
    return jnp.stack(speeds), jnp.stack([_condition(*block) for block in blocks])


def _condition(factor: AbstractRows, mass: Part, like: Part):
    """The largest eigenvalue of `I + D^-1 K^T K`; the smallest is 1, as a softmax ignores some directions.

    By powers: it is well apart from the next one, because all costates of a class agree on a direction.
    """

    def step(_, carry):
        vector, _ = carry
        product = factor.rmv(factor.mv(vector))
        image = tuple(leaf / entry for leaf, entry in zip(product, mass, strict=True))
        length = jnp.sqrt(dot(image, image))
        return tuple(leaf / length for leaf in image), length

    start = tuple(jnp.cos(1.0 + jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape) for leaf in like)
    length = jnp.sqrt(dot(start, start))
    unit = tuple(leaf / length for leaf in start)
    return 1 + jax.lax.fori_loop(0, _POWERS, step, (unit, length))[1]
