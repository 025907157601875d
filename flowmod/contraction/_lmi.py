"""The linear matrix inequality of a constant metric: `J_i^T P + P J_i + 2 c P <= 0` for all `i`, by a cone solver."""

import importlib
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float

_INSTALL = "Install the solver that `fm.fit_metric` needs: pip install 'flowmod[fit]'"


class MetricInequality:
    """The metric `I / condition <= P <= I` that comes nearest to having the rate `c`, for any `c`.

    For a fixed `c` the inequality is linear in `P`. What is solved is always feasible: the smallest `s` with
    `J_i^T P + P J_i + 2 c P <= s I`. A `P` with `s <= 0` has the rate.

    Args:
        jacobians: (N, n, n), of a size near one.
        condition: a bound on the condition of `P`.
        diagonal: whether `P` is diagonal.

    Raises:
        ModuleNotFoundError: if the solver is not installed.
    """

    def __init__(self, jacobians: Float[np.ndarray, "N n n"], condition: float, diagonal: bool):
        try:
            self._cvxpy: Any = importlib.import_module("cvxpy")
            importlib.import_module("clarabel")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"The module `{error.name}` is not installed. {_INSTALL}", name=error.name
            ) from error
        cp, n = self._cvxpy, jacobians.shape[1]
        self._diagonal = diagonal
        self._unknown = cp.Variable(n) if diagonal else cp.Variable((n, n), symmetric=True)
        self._wanted, self._excess, self._least = cp.Parameter(), cp.Variable(), cp.Variable()
        p, eye = cp.diag(self._unknown) if diagonal else self._unknown, np.eye(n)
        left = [j.T @ p + p @ j + 2 * self._wanted * p for j in jacobians]
        below = [self._unknown <= 1] if diagonal else [eye - p >> 0]
        above = [self._unknown >= self._least] if diagonal else [p - self._least * eye >> 0]
        bounds = [*below, *above, self._least >= 1 / condition]
        self._nearest = cp.Problem(cp.Minimize(self._excess), bounds + [self._excess * eye - one >> 0 for one in left])
        self._roundest = cp.Problem(cp.Maximize(self._least), bounds + [-one >> 0 for one in left])

    def nearest(self, rate: float) -> Float[np.ndarray, "n n"]:
        """The metric that comes nearest to the rate: it has it if any has.

        Raises:
            RuntimeError: if the solver fails: with its reason.
        """
        return self._solve(self._nearest, rate)

    def roundest(self, rate: float) -> Float[np.ndarray, "n n"]:
        """The metric of the smallest condition among those with the rate.

        Raises:
            RuntimeError: if there is none, or the solver fails.
        """
        return self._solve(self._roundest, rate)

    def _solve(self, problem: Any, rate: float) -> Float[np.ndarray, "n n"]:
        cp = self._cvxpy
        self._wanted.value = rate
        reason = None
        with warnings.catch_warnings():
            # What is inaccurate does no harm: rates are worked out from the metric that comes back.
            warnings.simplefilter("ignore")
            try:
                problem.solve(solver=cp.CLARABEL)
            except cp.SolverError as error:
                reason = str(error)
        value = self._unknown.value
        if reason is None and problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
            reason = f"it says '{problem.status}'"
        if reason is not None or value is None or not np.isfinite(value).all():
            raise RuntimeError(
                f"The cone solver found no metric: {reason or 'its answer is not finite'}. Try a smaller `condition`, "
                'fewer states, `structure="diagonal"`, or a state in units in which its numbers are of one size.'
            )
        return np.diag(value) if self._diagonal else (value + value.T) / 2
