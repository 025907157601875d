"""The images of handwritten digits that come with scikit-learn."""

import dataclasses
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

_TRAINING = 1437
"""So many of the 1,797 images are for training, the others for testing, as in scikit-learn's own examples: 4 to 1."""


@dataclasses.dataclass(frozen=True)
class DigitsConfig:
    """Which images are learned.

    Attributes:
        train: how many, from 1 to 1,437; 360 others always are the test.
        seed: of their order, and of the starts of all trainings.

    Raises:
        ValueError: if there are not so many.
    """

    train: int = _TRAINING
    seed: int = 0

    def __post_init__(self):
        if not 1 <= self.train <= _TRAINING:
            raise ValueError(f"`train` must be from 1 to {_TRAINING} images, got {self.train}: choose fewer.")

    @property
    def keys(self) -> tuple[jax.Array, jax.Array]:
        """Random keys for the network and for the regression."""
        network, regression = jax.random.split(jax.random.key(self.seed))
        return network, regression


class Digits(NamedTuple):
    """Images of 8 x 8 pixels from 0 to 1, and what they show."""

    images: Float[np.ndarray, "N 64"]
    labels: Int[np.ndarray, " N"]
    test_images: Float[np.ndarray, "M 64"]
    test_labels: Int[np.ndarray, " M"]

    def first(self, count: int) -> "Digits":
        """With the first so many images for training."""
        return self._replace(images=self.images[:count], labels=self.labels[:count])


def load_digits(config: DigitsConfig) -> Digits:
    """The images, in an order that the seed fixes.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.
    """
    import sklearn.datasets  # an optional extra, which takes a second to load

    images, labels = map(np.asarray, sklearn.datasets.load_digits(return_X_y=True))
    images = images / images.max()
    order = np.random.default_rng(config.seed).permutation(len(labels))
    train, test = order[: config.train], order[_TRAINING:]
    return Digits(images[train], labels[train], images[test], labels[test])
