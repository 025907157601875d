"""Where the next of a sequence of searches for eigenvectors begins."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .lanczos import random_start

_RANDOM = 0.1
"""The length of what is random in a warm start, beside one."""


def warm_start(vectors: Float[Array, "k n"]) -> Float[Array, " n"]:
    """A start for the eigenvectors of a pencil that has changed a little since these were found.

    All of them in one vector, because a Krylov space has one start: it has each of them again in as many steps as they
    are. Random numbers beside them, because an eigenvector that is still one has nothing else in its Krylov space, and
    what has overtaken it since would be looked for in the few products of the second start only.

    Args:
        vectors: the eigenvectors found last; not finite where there were none.

    Returns:
        A flat vector for `extreme_eigenpairs`, random where there were no vectors.
    """
    random = random_start(vectors.shape[1], vectors.dtype)
    ahead = jnp.sum(vectors, axis=0)
    ahead = ahead / jnp.linalg.norm(ahead) + _RANDOM * random / jnp.linalg.norm(random)
    return jnp.where(jnp.all(jnp.isfinite(ahead)), ahead, random)
