"""The energy ledger: does the energy that was lost equal the energy that was dissipated?"""

import jax.numpy as jnp
import numpy as np

from .._tree import is_traced


def balance(energy, potential, dissipated):
    """(energy lost - energy dissipated) / energy lost in the whole run, along the last axis.

    Relative to the largest change of the potential where that is larger: an inertial flow may conserve its energy.
    """
    if energy.shape[-1] == 0:
        return energy
    xp = jnp if is_traced(energy, dissipated) else np
    lost = energy[..., :1] - energy
    exchanged = xp.max(xp.abs(potential - potential[..., :1]), axis=-1, keepdims=True)
    scale = xp.maximum(xp.abs(lost[..., -1:]), exchanged)
    # A potential can't change by less than its own rounding: near an equilibrium there is nothing to balance.
    largest = xp.max(xp.abs(energy), axis=-1, keepdims=True)
    floor = 1e3 * xp.finfo(lost.dtype).eps * largest + xp.finfo(lost.dtype).tiny
    return (lost - (dissipated - dissipated[..., :1])) / xp.maximum(scale, floor)
