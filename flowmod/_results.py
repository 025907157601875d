"""Why a run ended."""

import enum

import diffrax
import jax.numpy as jnp
from jaxtyping import Array, Int


class RESULTS(enum.IntEnum):
    """Why a run ended; `str()` of a member is a sentence.

    Inside `jax.jit` or `jax.vmap` the result of a run is an integer array of these codes; `fm.RESULTS(int(code))`
    gives the member back. A code below `max_steps_reached` means that the run went as it should.
    """

    successful = 0, "The run reached its end time."
    event_occurred = 1, "The run stopped where `until` was met."
    max_steps_reached = 2, "The run took `max_steps` steps without reaching its end time."
    dt_min_reached = 3, "The step size fell below the smallest one that time can resolve."
    stiff = 4, "The flow is too stiff for an explicit solver."
    nonfinite_potential = 5, "The potential is not finite."
    nonfinite_field = 6, "The vector field is not finite."
    nonfinite_metric = 7, "The metric is not finite."
    asymmetric_metric = 8, "The metric is not symmetric."
    indefinite_metric = 9, "The metric is not positive definite."
    solver_failed = 10, "The implicit solver's equations could not be solved."

    inner_solve_failed = 11, "The inner solve of the metric did not converge."

    sentence: str

    def __new__(cls, code: int, sentence: str) -> "RESULTS":
        member = int.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member

    def __str__(self) -> str:
        return self.sentence

    @property
    def is_okay(self) -> bool:
        """Whether the run ended where it was meant to."""
        return self < RESULTS.max_steps_reached


def code_of(result: diffrax.RESULTS) -> Int[Array, ""]:
    """The code of a diffrax result, traced or not; what diffrax knows no cause for is the solver's failure."""
    known = ("successful", "event_occurred", "max_steps_reached", "dt_min_reached")
    code = jnp.asarray(RESULTS.solver_failed.value)
    for name in known:
        code = jnp.where(result == getattr(diffrax.RESULTS, name), RESULTS[name].value, code)
    return code
