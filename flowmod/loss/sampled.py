"""A metric of outputs by random probes: few rows for hundreds of outputs, and right on average."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .losses import AbstractLoss
from .output import AbstractOutputMetric, Coordinates, flat_rows, require_count, require_output


class OutputSampled(AbstractOutputMetric):
    """`m` rows `S L / sqrt(m)` in the place of the rows `L` of another metric; `S` has random signs.

    `S^T S / m` is the identity on average, and so `L^T L` is estimated without bias. The probes are drawn once for each
    sample: they are a function of the key, the metric is a smooth function of the state, and a flow is well defined.
    It is another metric than the one it estimates; `variance` says how far off it is. Rows that fall with `m` save
    time where outputs are hundreds: the time of a direct solve grows with the cube of their number.

    Args:
        output: the metric to be sampled.
        probes: `m`, fewer than the rows of that metric.
        key: a random key.

    Raises:
        ValueError: for no probes, as many as rows or more, or no key.

    Reference: M. Hutchinson, "A stochastic estimator of the trace of the influence matrix" (1989).
    """

    output: AbstractOutputMetric
    probes: int = eqx.field(static=True)
    key: PRNGKeyArray

    def __init__(self, output: AbstractOutputMetric, probes: int, key: PRNGKeyArray):
        require_output(output)
        require_count("probes", probes)
        if not (hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()):
            raise ValueError(f"`key` must be a random key, such as `jax.random.key(0)`, got {key!r}.")
        self.output, self.probes, self.key = output, probes, key

    def rows(self, outputs: Float[Array, "N ..."], targets: Any) -> Float[Array, "N C ..."]:
        full = self.output.rows(outputs, targets)
        n, size, *shape = full.shape
        if self.probes >= size:
            raise ValueError(
                f"`probes` must be fewer than the {size} rows of the metric of the outputs, got {self.probes}: use "
                "that metric itself."
            )
        signs = jax.random.rademacher(self.key, (n, self.probes, size), full.dtype)
        probed = signs @ flat_rows(full) * self.probes**-0.5
        return probed.reshape(n, self.probes, *shape)

    def coordinates(
        self, loss: AbstractLoss, outputs: Float[Array, "N ..."], costates: Float[Array, "N ..."]
    ) -> Coordinates | None:
        return None  # the costate is not in the range of so few rows

    def variance(self, outputs: Float[Array, "N ..."], targets: Any = None) -> Float[Array, " N"]:
        """`E |estimate - L^T L|^2 / |L^T L|^2` in the Frobenius norm, for each sample, over keys.

        With `A = L L^T` it is `((tr A)^2 + |A|^2 - 2 sum_i A_ii^2) / (m |A|^2)`.
        """
        rows = flat_rows(self.output.rows(outputs, targets))
        products = rows @ jnp.swapaxes(rows, 1, 2)
        squares = jnp.sum(rows**2, axis=2)
        norm = jnp.sum(products**2, axis=(1, 2))
        spread = jnp.sum(squares, axis=1) ** 2 + norm - 2 * jnp.sum(squares**2, axis=1)
        return spread / (self.probes * norm)
